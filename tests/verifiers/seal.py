"""Seals a credential with a library that is not ours, as the documentation of the formats says.

Arguments: the format (`countersign` or `fernet`), the key, the platform's id, the credential.
"""

import base64
import os
import sys

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def countersign(secret, platform, credential):
    key = secret if len(secret) == 32 else HKDF(SHA256(), 32, None, b"countersign sealing").derive(secret)
    place = b"".join(len(part).to_bytes(8, "big") + part for part in (b"platforms", platform, b"credential"))
    nonce = os.urandom(12)
    sealed = nonce + AESGCM(key).encrypt(nonce, credential, place)
    return b"cs1.sealing-1." + base64.urlsafe_b64encode(sealed).rstrip(b"=")


how, secret, platform, credential = (os.fsencode(argument) for argument in sys.argv[1:])
sealed = countersign(secret, platform, credential) if how == b"countersign" else Fernet(secret).encrypt(credential)
print(sealed.decode())
