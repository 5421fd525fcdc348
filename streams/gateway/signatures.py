"""
How each platform proves that a push is its own, as a table; no I/O, no clock.

Promise: a signature is computed over the bytes as they came, before anybody parses them, and
compared in constant time; every secret of a shop is tried, whichever fits. A request that carries
two signatures proves nothing.

None of these platforms states a window in which its signature is good, and an honest retry repeats
the original bytes hours later. So there is none unless a shop's entry asks for one
(`replay_window`), and only where a time is among what is signed. A replayed push is harmless all
the same, because what intake makes of it is idempotent.

A platform of somebody else's package brings its own way to sign (docs/add-a-platform.md): an entry
point that names a `Verifier`. Ours cannot be replaced by one.

Left out, see `ABSENT`: platforms that push over a connection of their own, and those whose way of
signing is not known well enough to be relied upon.
"""

import hmac
import html
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import md5, sha256
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Final

import orjson
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from schemas.errors import Misconfigured
from streams.topics import PLATFORMS

#: Where an installed package names how its platform signs: `platform = "module:object"`.
VERIFIERS_GROUP = "orderflow.verifiers"


@dataclass(frozen=True, kw_only=True, slots=True)
class Push:
    """One request, and what its shop is known by at the platform."""

    #: The signature header's bytes; None: there is none, or more than one.
    signature: bytes | None
    body: bytes
    app_key: bytes = b""
    #: The address as it was registered with the platform.
    callback_url: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verifier:
    """A platform's way to sign, and the answer it takes for a yes."""

    #: The payload, if the push is signed (or sealed) with this secret; else None.
    opened: Callable[[Push, bytes], bytes | None]
    #: The header of the signature, in lower case; empty: the body is sealed instead.
    header: bytes = b""
    #: Is this the platform's unsigned trial of the address? It is answered and not stored.
    is_ping: Callable[[Push], bool] = lambda _: False
    #: Is this signed payload only a trial? It is acknowledged and not stored.
    is_probe: Callable[[bytes], bool] = lambda _: False
    #: When was this payload signed, ms? None as a function: no time is among what is signed.
    signed_ms: Callable[[bytes], int | None] | None = None
    #: Can this be a secret of the platform?
    is_secret: Callable[[bytes], bool] = bool
    #: Fields of the shop's entry without which nothing can be verified.
    needs: tuple[str, ...] = ()
    #: The body of the acknowledgement.
    says: bytes = b""
    media_type: bytes = b"text/plain"


def opened(verifier: Verifier, push: Push, secrets: tuple[bytes, ...]) -> bytes | None:
    """Return the payload of *push* if one of *secrets* proves it, else None."""
    # All are tried, so that the time taken does not tell which one it was.
    tried = [verifier.opened(push, secret) for secret in secrets]
    return next((payload for payload in tried if payload is not None), None)


def is_fresh(signed_ms: int | None, now_ms: int, window_ms: int) -> bool:
    """Tell whether a push signed then may still be taken; one from the future neither."""
    return signed_ms is not None and abs(now_ms - signed_ms) <= window_ms


def _signed(push: Push, right: bytes) -> bytes | None:
    return push.body if hmac.compare_digest(push.signature or b"", right) else None


def _hex(secret: bytes, text: bytes) -> bytes:
    return hmac.digest(secret, text, "sha256").hex().encode()


def _base64(secret: bytes, body: bytes) -> bytes:
    return b64encode(hmac.digest(secret, body, "sha256"))


def _shopify(push: Push, secret: bytes) -> bytes | None:
    return _signed(push, _base64(secret, push.body))


def _woocommerce(push: Push, secret: bytes) -> bytes | None:
    """The shop keeps its secret with HTML entities, and signs with what they mean."""
    return _signed(push, _base64(html.unescape(secret.decode()).encode(), push.body))


def _woocommerce_ping(push: Push) -> bool:
    """A new webhook is tried with a form that holds its number, unsigned."""
    return push.signature is None and re.fullmatch(rb"webhook_id=\d{1,20}", push.body) is not None


def _tiktokshop(push: Push, secret: bytes) -> bytes | None:
    return _signed(push, _hex(secret, push.app_key + push.body))


def _shopee(push: Push, secret: bytes) -> bytes | None:
    return _signed(push, _hex(secret, push.callback_url + b"|" + push.body))


def _douyin(push: Push, secret: bytes) -> bytes | None:
    """Two ways are in use, and their lengths tell them apart: 32 digits MD5, 64 HMAC."""
    text = push.app_key + push.body + secret
    if len(push.signature or b"") == 2 * sha256().digest_size:
        return _signed(push, _hex(secret, text))
    return _signed(push, md5(text, usedforsecurity=False).hexdigest().encode())


def _douyin_probe(payload: bytes) -> bool:
    """A trial of the address is an array of nothing but messages with tag 0."""
    entries = _decoded(payload)
    return (
        isinstance(entries, list)
        and bool(entries)
        and all(isinstance(entry, dict) and str(entry.get("tag")) == "0" for entry in entries)
    )


def _kuaishou(push: Push, secret: bytes) -> bytes | None:
    """
    No signature: a body that the shop's secret turns into an event is the proof there is.

    What goes on is the plain text, so that the secret need not leave this process.
    """
    try:
        sealed = b64decode(push.body.strip(), validate=True)
        opening = Cipher(AES(b64decode(secret)), CBC(bytes(16))).decryptor()
        padding = PKCS7(AES.block_size).unpadder()
        plain = padding.update(opening.update(sealed) + opening.finalize()) + padding.finalize()
    except ValueError:
        return None
    event = _decoded(plain)
    return plain if isinstance(event, dict) and "event" in event else None


def _is_aes_key(secret: bytes) -> bool:
    try:
        return len(b64decode(secret, validate=True)) == 16
    except ValueError:
        return False


def _decoded(payload: bytes) -> object:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None


def _number_under(key: str, unit_ms: int) -> Callable[[bytes], int | None]:
    def read(payload: bytes) -> int | None:
        body = _decoded(payload)
        value = body.get(key) if isinstance(body, dict) else None
        return value * unit_ms if type(value) is int else None

    return read


_JSON: Final = b"application/json"

#: Ours; `verifiers()` has those of installed packages too.
VERIFIERS: Final[Mapping[str, Verifier]] = MappingProxyType({
    "shopify": Verifier(opened=_shopify, header=b"x-shopify-hmac-sha256"),
    "woocommerce": Verifier(
        opened=_woocommerce, header=b"x-wc-webhook-signature", is_ping=_woocommerce_ping
    ),
    "tiktokshop": Verifier(
        opened=_tiktokshop,
        header=b"authorization",
        signed_ms=_number_under("timestamp", 1000),
        needs=("app_key",),
    ),
    # Shopee takes nothing but an empty body.
    "shopee": Verifier(
        opened=_shopee,
        header=b"authorization",
        signed_ms=_number_under("timestamp", 1000),
        needs=("callback_url",),
    ),
    "douyin": Verifier(
        opened=_douyin,
        header=b"event-sign",
        is_probe=_douyin_probe,
        needs=("app_key",),
        says=b'{"code":0,"msg":"success"}',
        media_type=_JSON,
    ),
    "kuaishou": Verifier(
        opened=_kuaishou,
        signed_ms=_number_under("createTime", 1),
        is_secret=_is_aes_key,
        says=b'{"result":1}',
        media_type=_JSON,
    ),
})  # fmt: skip

#: Platforms whose webhooks are not taken here, and why.
ABSENT: Final[Mapping[str, str]] = MappingProxyType({
    "taobao": "Taobao pushes over its own message channel (TMC), not by webhook.",
    "tmall": "Tmall pushes over its own message channel (TMC), not by webhook.",
    "jd": "JD pushes over a connection of its own, not by webhook.",
    "pdd": "PDD pushes over a WebSocket, not by webhook.",
    "amazon": "Amazon notifies through a queue, not by webhook.",
    "xiaohongshu": "Xiaohongshu's exact signature is not known here, so its pushes are not taken.",
    "mall": "The own mall posts its orders to /v1/orders.",
})  # fmt: skip


@cache
def verifiers() -> Mapping[str, Verifier]:
    """
    Return how each platform signs whose webhooks are taken; raises Misconfigured.

    Asked for when it is needed and not when this page is read: the module of a package may hold its
    adapter too, and is not whole before the adapters are loaded.
    """
    found = dict(VERIFIERS)
    for entry in entry_points(group=VERIFIERS_GROUP):
        if entry.name in found:
            raise Misconfigured(
                f"A package offers the webhooks of {entry.name!r}, which are taken already; "
                "uninstall it."
            )
        found[entry.name] = _installed(entry)
    return MappingProxyType(found)


def why_absent(platform: str) -> str:
    """Return why no webhooks of *platform* are taken, if that is known; nothing if they are."""
    return "" if platform in verifiers() else ABSENT.get(platform, "")


def _installed(entry: EntryPoint) -> Verifier:
    package = entry.dist.name if entry.dist else entry.value
    if entry.name not in PLATFORMS or entry.name == "mall":
        raise Misconfigured(
            f"The package {package} offers the webhooks of {entry.name!r}, and there is no such "
            "platform that has any; let it name its own adapter's."
        )
    try:
        verifier = entry.load()
    except Exception as error:
        raise Misconfigured(
            f"How {entry.name!r} signs cannot be loaded from the package {package} "
            f"({type(error).__name__}: {error}); repair or uninstall the package."
        ) from error
    if not isinstance(verifier, Verifier):
        raise Misconfigured(
            f"The package {package} offers {entry.value!r} for the webhooks of {entry.name!r}, and "
            "that is no Verifier; see docs/add-a-platform.md."
        )
    return verifier
