"""Fuzzes the admin API by its OpenAPI description, with the admin token.

Asks the proxy itself for the description, and holds every answer against it: status, media type, schema, that what is
malformed is refused, that nothing works without the token. First come calls about people and sessions that exist, so
that the answers of success are judged too. Ends with an error at the first contradiction.
"""

import os
import sys
import time

import requests
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from described import CHECKS, fuzz, operations, say, varies, without_security

ADMIN, TOKEN = os.environ["ADMIN"], os.environ["ADMIN_TOKEN"]
EXAMPLES = int(os.environ.get("EXAMPLES", "4"))
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


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


def validate(case):
    case.call_and_validate(base_url=ADMIN, headers=HEADERS, checks=CHECKS, timeout=10)


def main():
    begin = time.monotonic()
    answer = requests.get(f"{ADMIN}/v1/openapi.json", headers=HEADERS, timeout=10)
    description = answer.json()
    counts, unspoilt = {}, []
    walk(operations(description))
    for operation in operations(description):
        fuzz(operation, GenerationMode.POSITIVE, EXAMPLES if varies(operation) else 1, validate, counts)
    for operation in operations(without_security(description)):
        if varies(operation):
            try:
                fuzz(operation, GenerationMode.NEGATIVE, EXAMPLES, validate, counts)
            except Unsatisfiable:
                # Any text is a text: of this one nothing malformed can be made.
                unspoilt.append(operation.label)
    assert len(unspoilt) < 3, unspoilt
    say(counts, begin)


if __name__ == "__main__":
    sys.exit(main())
