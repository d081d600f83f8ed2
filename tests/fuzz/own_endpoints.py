"""Fuzzes the proxy's own endpoints by their OpenAPI description, with a real session and its anti-forgery token.

Asks the proxy itself for the description, and holds every answer against it: status, media type, schema, that what is
malformed is refused, that nothing works without a session. A session that a call has ended is followed by a new one.
Afterwards every alias is sent bodies of every kind. Ends with an error at the first contradiction.
"""

import json
import os
import sys
import time

import requests
from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

import described
from described import CHECKS, SEED, fuzz, say, varies, without_security

ADMIN, TOKEN = os.environ["ADMIN"], os.environ["ADMIN_TOKEN"]
BASE = os.environ["BASE"]
HOST = os.environ.get("HOST", "app.test")
EXAMPLES = int(os.environ.get("EXAMPLES", "12"))
RESERVED = "/.countersign"
ENDS_THE_SESSION = {"logout-post", "logout-everywhere-post"}
# A stream has no end to be validated; tests of its own read it.
NOT_HERE = {"events-get"}


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

    def validate(self, case):
        case.call_and_validate(
            base_url=BASE + RESERVED,
            session=self.http,
            headers=self.headers(),
            cookies=self.cookies,
            checks=CHECKS,
            timeout=10,
        )
        if case.operation.definition.raw["operationId"] in ENDS_THE_SESSION:
            self.log_in()


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
    all_there_are = described.operations(description)
    return [operation for operation in all_there_are if operation.definition.raw["operationId"] not in NOT_HERE]


def main():
    begin = time.monotonic()
    tab = Tab()
    description = tab.ask("GET", f"{RESERVED}/openapi.json").json()
    counts = {}
    for operation in operations(description):
        # Two where nothing can be varied, because the first may have changed something.
        fuzz(operation, GenerationMode.POSITIVE, EXAMPLES if varies(operation) else 2, tab.validate, counts)
    for operation in operations(without_security(description)):
        if varies(operation):
            fuzz(operation, GenerationMode.NEGATIVE, EXAMPLES, tab.validate, counts)
    for method, path, reads_a_body in json.loads(os.environ.get("ALIASES", "[]")):
        fuzz_alias(tab, method, path, reads_a_body)
    say(counts, begin)


if __name__ == "__main__":
    sys.exit(main())
