"""Verifies captured requests with libraries that are not ours: http-message-signatures and PyJWT.

As a program it reads {"keys": ..., "requests": [...]} and prints one verdict per request; an application imports
`message_error` and `jwt_claims`.
"""

import base64
import json
import sys

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import HTTPMessageVerifier, algorithms
from http_message_signatures.resolvers import HTTPSignatureKeyResolver

PREFIX = "x-context-"
REQUIRED = ("@method", "@authority", "@path", "@query")


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Message:
    """A request the way the library wants to see it."""

    def __init__(self, request):
        self.method = request["method"]
        self.url = f"http://{request['authority']}{request['target']}"
        self.headers = {}
        for name, value in request["headers"]:
            name = name.lower()
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value


class Keys(HTTPSignatureKeyResolver):
    """The keys we know; the message decides nothing but which of them was used."""

    def __init__(self, keys):
        self.keys = keys

    def resolve_public_key(self, key_id):
        key = self.keys.get(key_id)
        if key is None:
            return None
        if "secret" in key:
            return decode(key["secret"])
        return Ed25519PublicKey.from_public_bytes(decode(key["jwk"]["x"]))


def message_error(request, keys):
    """Why the message signature is not to be believed; None when it is."""
    message = Message(request)
    algorithm = algorithms.ED25519 if any("jwk" in key for key in keys.values()) else algorithms.HMAC_SHA256
    context = [name for name in message.headers if name.startswith(PREFIX)]
    verifier = HTTPMessageVerifier(signature_algorithm=algorithm, key_resolver=Keys(keys))
    try:
        verified = verifier.verify(message, expect_tag="countersign", require_components=(*REQUIRED, *context))
    except Exception as error:  # the library raises several kinds, all of which mean no
        return f"{type(error).__name__}: {error}"
    return None if [result.label for result in verified] == ["countersign"] else "not one signature of the proxy"


def jwt_claims(token, keys):
    """The claims of a token; raises when it is not to be believed."""
    header = jwt.get_unverified_header(token)
    if "jwt_secret" in keys:
        key, algorithm = decode(keys["jwt_secret"]), "HS256"
    else:
        key = next(k for k in jwt.PyJWKSet.from_dict(keys["jwks"]).keys if k.key_id == header.get("kid"))
        algorithm = key.algorithm_name
    required = ["iss", "aud", "iat", "exp", "jti"]
    options = {"require": required}
    return jwt.decode(token, key, algorithms=[algorithm], audience=keys["audience"], options=options)


def verdict(request, keys):
    result = {"signature": message_error(request, keys["message"]), "jwt": None, "claims": None}
    token = Message(request).headers.get(PREFIX + "jwt")
    if token is not None:
        try:
            result["claims"] = jwt_claims(token, keys)
        except Exception as error:
            result["jwt"] = f"{type(error).__name__}: {error}"
    return result


if __name__ == "__main__":
    given = json.load(sys.stdin)
    json.dump([verdict(request, given["keys"]) for request in given["requests"]], sys.stdout)
