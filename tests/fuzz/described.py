"""What both fuzzers have in common: which checks hold an answer against its description, and how calls are made up."""

import copy
import json
import os
import time

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.specs.openapi import checks as openapi_checks

SEED = int(os.environ.get("SEED", "1"))
# `positive_data_acceptance` is not among them: an id or a setting of the right form need not be anybody's.
CHECKS = [
    schemathesis.checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
    openapi_checks.negative_data_rejection,
    openapi_checks.ignored_auth,
]


def operations(description):
    schema = schemathesis.openapi.from_dict(copy.deepcopy(description))
    return [result.ok() for result in schema.get_all_operations()]


def varies(operation):
    """Whether there is anything to make up: where not, one call is like the next."""
    return bool(operation.body or operation.path_parameters or operation.query)


def without_security(description):
    """Cookies and tokens are ours to send: only what a call says besides may then be wrong."""
    rest = copy.deepcopy(description)
    for path in rest["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
    return rest


def fuzz(operation, mode, examples, validate, counts):
    """So many made-up calls, each handed to `validate`."""

    @seed(SEED)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case):
        validate(case)
        counts[operation.label] = counts.get(operation.label, 0) + 1

    run()


def say(counts, begin):
    print(f"{sum(counts.values())} calls of {len(counts)} operations in {time.monotonic() - begin:.1f} s")
    print(json.dumps(counts, indent=1))
