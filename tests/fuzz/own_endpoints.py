"""Fuzzes the proxy's own endpoints by their OpenAPI description, with a real session and its anti-forgery token.

Asks the proxy itself for the description, and holds every answer against it: status, media type, schema, that what is
malformed is refused, that nothing works without a session. A session that a call has ended is followed by a new one.
Afterwards every alias is sent bodies of every kind. Ends with an error at the first contradiction.
"""

import copy
import json
import os
import sys
import time

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks as openapi_checks

ADMIN, TOKEN = os.environ["ADMIN"], os.environ["ADMIN_TOKEN"]
BASE = os.environ["BASE"]
HOST = os.environ.get("HOST", "app.test")
EXAMPLES = int(os.environ.get("EXAMPLES", "12"))
SEED = int(os.environ.get("SEED", "1"))
RESERVED = "/.countersign"
ENDS_THE_SESSION = {"logout-post", "logout-everywhere-post"}
# A stream has no end to be validated; tests of its own read it.
NOT_HERE = {"events-get"}
# `positive_data_acceptance` is not among them: an id or a setting of the right form need not be one of the user's.
CHECKS = [
    schemathesis.checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.negative_data_rejection,
    openapi_checks.ignored_auth,
]


class Tab:
    """A page of a browser in which Ana is logged in."""

    def __init__(self):
        self.http = requests.Session()
        self.log_in()

    def log_in(self):
        answer = requests.post(
            f"{ADMIN}/v1/sessions", json={"user": "1"}, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10
        )
        answer.raise_for_status()
        cookie = answer.json()["cookie"]
        self.cookies = {cookie["name"]: cookie["value"]}
        self.csrf = self.ask("GET", f"{RESERVED}/session").json()["csrf_token"]

    def headers(self):
        return {"host": HOST, "sec-fetch-site": "same-origin", "x-csrf-token": self.csrf}

    def ask(self, method, path, **more):
        return requests.request(method, BASE + path, headers={"host": HOST}, cookies=self.cookies, timeout=10, **more)


def fuzz(operation, tab, mode, counts):
    # Where nothing can be varied, one call is like the next; two, because the first may have changed something.
    varies = operation.body or operation.path_parameters

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES if varies else 2,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case):
        case.call_and_validate(
            base_url=BASE + RESERVED,
            session=tab.http,
            headers=tab.headers(),
            cookies=tab.cookies,
            checks=CHECKS,
            timeout=10,
        )
        counts[operation.label] = counts.get(operation.label, 0) + 1
        if operation.definition.raw["operationId"] in ENDS_THE_SESSION:
            tab.log_in()

    run()


def fuzz_alias(tab, method, path, reads_a_body):
    """Any body under any name gets an answer that says what it is; where none is read, none is a fault."""

    kinds = st.sampled_from(["application/json", "text/plain", "application/x-www-form-urlencoded", "a/b; c=d", "", "{"])

    @seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate])
    @given(body=st.one_of(st.just(b""), st.binary(max_size=200), st.just(b"{}")), kind=kinds)
    def run(body, kind):
        headers = {"host": HOST, "sec-fetch-site": "same-origin"} | ({"content-type": kind} if kind else {})
        answer = requests.request(
            method, BASE + path, data=body, headers=headers, cookies=tab.cookies, timeout=10
        )
        if answer.status_code == 200:
            assert answer.json()["success"] is True, answer.text
            return
        assert reads_a_body, f"{method} {path} {kind!r} {body!r}: {answer.status_code} {answer.text}"
        assert answer.status_code in (400, 422), answer.text
        problem = answer.json()
        assert problem["code"] in ("malformed_json", "invalid_fields", "settings_too_large"), problem

    run()


def operations(description):
    schema = schemathesis.openapi.from_dict(copy.deepcopy(description))
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.definition.raw["operationId"] not in NOT_HERE:
            yield operation


def main():
    begin = time.monotonic()
    tab = Tab()
    description = tab.ask("GET", f"{RESERVED}/openapi.json").json()
    counts = {}
    for operation in operations(description):
        fuzz(operation, tab, GenerationMode.POSITIVE, counts)
    # Cookie and token are ours to send: only what a call says besides may be wrong here.
    for path in description["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
    for operation in operations(description):
        if operation.body or operation.path_parameters:
            fuzz(operation, tab, GenerationMode.NEGATIVE, counts)
    for method, path, reads_a_body in json.loads(os.environ.get("ALIASES", "[]")):
        fuzz_alias(tab, method, path, reads_a_body)
    print(f"{sum(counts.values())} calls of {len(counts)} operations in {time.monotonic() - begin:.1f} s")
    print(json.dumps(counts, indent=1))


if __name__ == "__main__":
    sys.exit(main())
