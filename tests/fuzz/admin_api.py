"""Fuzzes the admin API by its OpenAPI description, with the admin token.

Asks the proxy itself for the description, and holds every answer against it: status, media type, schema, that what is
malformed is refused, that nothing works without the token. First come calls about people and sessions that exist, so
that the answers of success are judged too. Ends with an error at the first contradiction.
"""

import copy
import json
import os
import sys
import time

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi_checks

ADMIN, TOKEN = os.environ["ADMIN"], os.environ["ADMIN_TOKEN"]
EXAMPLES = int(os.environ.get("EXAMPLES", "4"))
SEED = int(os.environ.get("SEED", "1"))
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
# `positive_data_acceptance` is not among them: an id of the right form need not be anybody's.
CHECKS = [
    schemathesis.checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.negative_data_rejection,
    openapi_checks.ignored_auth,
]


def call(operation, expected, **parts):
    """One call that has to come to this status."""
    answer = operation.Case(**parts).call_and_validate(base_url=ADMIN, headers=HEADERS, checks=CHECKS, timeout=10)
    assert answer.status_code == expected, f"{operation.label}: {answer.status_code} {answer.text}"
    return answer.json()


def walk(operations):
    """Every operation once, about what exists: everything but what was asked for is then a fault."""
    about = {operation.definition.raw["operationId"]: operation for operation in operations}
    calls = []

    def ask(name, expected=200, **parts):
        calls.append(name)
        return call(about[name], expected, **parts)

    created = ask("post-v1-sessions", 201, body={"user": "1", "platform": "11"}, media_type="application/json")
    one, cookie = created["session"]["id"], created["cookie"]["value"]
    for path in ("live", "ready", "-well-known-jwks-json"):
        ask(f"get-{path}")
    for path in ("status", "overview", "config", "reload", "openapi-json"):
        ask(f"get-v1-{path}")
    ask("post-v1-reload")
    page = ask("get-v1-sessions", query={"user": "1", "limit": 1})
    assert page["sessions"][0]["id"] == one, page
    ask("get-v1-users-user-sessions", path_parameters={"user": "1"}, query={"limit": 200})
    ask("get-v1-sessions-id", path_parameters={"id": one[:8]})
    for body in ({"cookie": cookie}, {"user": "1"}, {}):
        question = {"method": "GET", "url": "/admin/"} | body
        ask("post-v1-explain", body=question, media_type="application/json")
    ask("post-v1-test-session", body={"cookie": cookie}, media_type="application/json")
    ask("post-v1-platforms-platform-clear", path_parameters={"platform": "11"})
    ask("post-v1-platforms-platform-invalidate", path_parameters={"platform": "11"})
    ask("post-v1-users-user-invalidate", path_parameters={"user": "1"})
    for what in ("settings", "stats"):
        pair = {"user": "1", "platform": "11"}
        ask(f"post-v1-users-user-{what}-platform-invalidate", path_parameters=pair)
    ask("delete-v1-sessions-id", path_parameters={"id": one})
    ask("delete-v1-users-user-sessions", path_parameters={"user": "1"})
    since = {"since": "2020-01-01T00:00:00Z", "user": "1", "limit": 200}
    events = [line["event"] for line in ask("get-v1-audit", query=since)["audit"]]
    assert {"session_started", "platform_cleared", "session_ended", "sessions_ended"} <= set(events), events
    assert set(about) == set(calls), set(about) ^ set(calls)


def fuzz(operation, mode, counts):
    # Where nothing can be varied, one call is like the next.
    varies = operation.body or operation.path_parameters or operation.query

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES if varies else 1,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case):
        case.call_and_validate(base_url=ADMIN, headers=HEADERS, checks=CHECKS, timeout=10)
        counts[operation.label] = counts.get(operation.label, 0) + 1

    run()


def operations(description):
    schema = schemathesis.openapi.from_dict(copy.deepcopy(description))
    return [result.ok() for result in schema.get_all_operations()]


def main():
    begin = time.monotonic()
    answer = requests.get(f"{ADMIN}/v1/openapi.json", headers=HEADERS, timeout=10)
    description = answer.json()
    counts, unspoilt = {}, []
    walk(operations(description))
    for operation in operations(description):
        fuzz(operation, GenerationMode.POSITIVE, counts)
    # The token is ours to send: only what a call says besides may be wrong here.
    for path in description["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
    for operation in operations(description):
        if operation.body or operation.path_parameters or operation.query:
            try:
                fuzz(operation, GenerationMode.NEGATIVE, counts)
            except Unsatisfiable:
                # Any text is a text: of this one nothing malformed can be made.
                unspoilt.append(operation.label)
    assert len(unspoilt) < 3, unspoilt
    print(f"{sum(counts.values())} calls of {len(counts)} operations in {time.monotonic() - begin:.1f} s")
    print(json.dumps(counts, indent=1))


if __name__ == "__main__":
    sys.exit(main())
