"""
Standard Webhooks: how a message that goes out is signed, so that its receiver knows it is ours.

    webhook-id         the same at every attempt: a receiver drops what it has seen
    webhook-timestamp  seconds since 1970, of this attempt: a receiver drops what is old
    webhook-signature  `v1,` and the HMAC-SHA256 of `id.timestamp.body`, in base64; one for each
                       secret that counts, with a blank between them

Promise: a secret is in no repr, no error and no log line. https://www.standardwebhooks.com
"""

import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence

PREFIX = "whsec_"
#: Of a secret of our making; the standard allows 24 to 64.
_SECRET_BYTES = 32


def new_secret() -> str:
    """Return a fresh secret: `whsec_` and 32 random bytes in base64."""
    return PREFIX + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def signature(secret: str, id_: str, at_s: int, body: bytes) -> str:
    """Return `v1,…` of one message by one secret; raises ValueError where that is no base64."""
    key = b64decode(secret.removeprefix(PREFIX), validate=True)
    said = hmac.digest(key, f"{id_}.{at_s}.".encode() + body, "sha256")
    return f"v1,{b64encode(said).decode()}"


def headers(keys: Sequence[str], id_: str, at_s: int, body: bytes) -> dict[str, str]:
    """Return the headers of a message, signed with each of *keys*; without one it is unsigned."""
    found = {"webhook-id": id_, "webhook-timestamp": str(at_s)}
    if keys:
        found["webhook-signature"] = " ".join(signature(key, id_, at_s, body) for key in keys)
    return found
