"""
Whose messages are taken: shops and their secrets, from one TOML file.

Promise: a wrong entry is named by its place and its field, and never by what it holds; a file that
everybody on the machine may read is refused; an API key is kept as its hash alone.
"""

import hmac
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from schemas.errors import Misconfigured
from streams.gateway.signatures import verifiers, why_absent

#: Whose orders come to /v1/orders with an API key instead of a signature.
MALL = "mall"
#: Before a key in the shops file that is a SHA-256 in hexadecimal already.
_HASHED = "sha256:"
#: What stands in deploy/shops.example.toml.
PLACEHOLDER = "CHANGE-ME"
#: The new one and, while both are in use, the old one.
_SECRETS_MAX = 2
_FILE_BYTES_MAX = 1024 * 1024
_OTHERS_MAY_READ = 0o004

Secret = Annotated[SecretStr, Field(min_length=1, max_length=500)]


class Entry(BaseModel):
    """One `[[shops]]` entry, as it stands in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    platform: str
    shop: str = Field(min_length=1, max_length=200, pattern=r"^[^/?#:\s]+$")
    #: The app's key at the platform, where that is part of what is signed.
    app_key: str = ""
    #: The address as registered with the platform, where that is part of what is signed.
    callback_url: str = ""
    #: Secrets as they are, and files that hold one each; relative names start at the shops file.
    secrets: tuple[Secret, ...] = ()
    secret_files: tuple[Path, ...] = ()
    #: How old a signed time may be; none: any age.
    replay_window: timedelta | None = Field(default=None, gt=timedelta(0))
    #: How the platform's API is called: the poller's (streams/polling/accounts.py), and only its.
    api: dict[str, Any] | None = Field(default=None, repr=False)

    @property
    def is_polled_only(self) -> bool:
        """Says nothing of webhooks: there is only an API to be called."""
        return self.api is not None and not (self.secrets or self.secret_files)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shop:
    """One shop, ready to be verified against."""

    platform: str
    name: str
    app_key: bytes = b""
    callback_url: bytes = b""
    #: Of the own mall: SHA-256 of its API keys.
    secrets: tuple[bytes, ...] = field(repr=False)
    #: 0: any age.
    replay_window_ms: int = 0


@dataclass(frozen=True, slots=True)
class Shops:
    """All shops of one file."""

    by_name: Mapping[tuple[str, str], Shop]

    def find(self, platform: str, name: str) -> Shop | None:
        """Return the shop, if it is known here."""
        return self.by_name.get((platform, name))

    def of_key(self, api_key: bytes) -> Shop | None:
        """Return the shop of the own mall that has this API key."""
        hashed = sha256(api_key).digest()
        # Every key is compared, so that the time taken does not tell which one it was.
        found = [
            shop
            for shop in self.by_name.values()
            if shop.platform == MALL
            for known in shop.secrets
            if hmac.compare_digest(known, hashed)
        ]
        return found[0] if found else None


def read(file: Path | None) -> Shops:
    """Return the shops in *file* whose messages come here; raises Misconfigured."""
    named, found = entries(file)
    shops = {
        (entry.platform, entry.shop): _shop(entry, place, named.parent)
        for place, entry in found
        if not entry.is_polled_only
    }
    _refuse_shared_keys(named, [shop for shop in shops.values() if shop.platform == MALL])
    return Shops(shops)


def entries(file: Path | None) -> tuple[Path, list[tuple[str, Entry]]]:
    """Return *file* and its entries, each with its place; raises Misconfigured."""
    if file is None or file == Path():
        raise Misconfigured("Set ORDERFLOW_SHOPS_FILE to the file of shops and their secrets.")
    try:
        # Neither the decoder's words nor TOML's are repeated: they may quote a secret.
        listed = tomllib.loads(private(file, "The shops file").decode()).get("shops")
    except ValueError:
        raise Misconfigured(f"The shops file {file} is no TOML in UTF-8; correct it.") from None
    if not isinstance(listed, list) or not listed:
        raise Misconfigured(f"The shops file {file} has no [[shops]] entry; add one.")
    found: dict[tuple[str, str], tuple[str, Entry]] = {}
    for nth, said in enumerate(listed, start=1):
        place = f"{file}, shops entry {nth}"
        entry = checked(Entry, said, place)
        if (entry.platform, entry.shop) in found:
            raise Misconfigured(f"{place}: {entry.platform}/{entry.shop} stands there twice.")
        found[entry.platform, entry.shop] = place, entry
    return file, list(found.values())


Checked = TypeVar("Checked", bound=BaseModel)


def checked(into: type[Checked], said: Any, place: str) -> Checked:
    """Return *said* as an entry; raises Misconfigured with the field, never with what it holds."""
    try:
        return into.model_validate(said)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in wrong["loc"])
        raise Misconfigured(f"{place}: {name or 'the entry'}: {wrong['msg']}.") from None


def _shop(entry: Entry, place: str, folder: Path) -> Shop:
    if entry.platform != MALL:
        _refuse_unverifiable(entry, place)
    secrets = [secret.get_secret_value() for secret in entry.secrets]
    secrets += [secret_in(folder / each, place) for each in entry.secret_files]
    if not 1 <= len(secrets) <= _SECRETS_MAX:
        raise Misconfigured(
            f"{place}: secrets: {len(secrets)} in all; give one, or the new and the old one."
        )
    if PLACEHOLDER in secrets:
        raise Misconfigured(f"{place}: secrets: put the shop's own in place of {PLACEHOLDER}.")
    return Shop(
        platform=entry.platform,
        name=entry.shop,
        app_key=entry.app_key.encode(),
        callback_url=entry.callback_url.encode(),
        secrets=_usable(entry.platform, secrets, place),
        replay_window_ms=int((entry.replay_window or timedelta()).total_seconds() * 1000),
    )


def _refuse_unverifiable(entry: Entry, place: str) -> None:
    if why := why_absent(entry.platform):
        raise Misconfigured(f"{place}: platform: {why}")
    verifier = verifiers().get(entry.platform)
    if verifier is None:
        raise Misconfigured(f"{place}: platform: it is one of {', '.join((*verifiers(), MALL))}.")
    for name in verifier.needs:
        if not getattr(entry, name):
            raise Misconfigured(f"{place}: {name}: {entry.platform} signs with it; add it.")
    if entry.replay_window and verifier.signed_ms is None:
        raise Misconfigured(
            f"{place}: replay_window: {entry.platform} signs no time; leave it out."
        )


def _usable(platform: str, secrets: Sequence[str], place: str) -> tuple[bytes, ...]:
    if platform == MALL:
        return tuple(_hash_of(secret, place) for secret in secrets)
    usable = tuple(secret.encode() for secret in secrets)
    for nth, secret in enumerate(usable):
        if not verifiers()[platform].is_secret(secret):
            raise Misconfigured(f"{place}: secrets[{nth}]: this can be no secret of {platform}.")
    return usable


def _hash_of(key: str, place: str) -> bytes:
    if not key.startswith(_HASHED):
        return sha256(key.encode()).digest()
    try:
        hashed = bytes.fromhex(key.removeprefix(_HASHED))
    except ValueError:
        hashed = b""
    if len(hashed) != sha256().digest_size:
        raise Misconfigured(f"{place}: secrets: after {_HASHED} stand 64 hexadecimal digits.")
    return hashed


def _refuse_shared_keys(file: Path, malls: Sequence[Shop]) -> None:
    """An API key names its shop, so no two may have the same."""
    owners: dict[bytes, str] = {}
    for shop in malls:
        for hashed in shop.secrets:
            if owners.setdefault(hashed, shop.name) != shop.name:
                raise Misconfigured(
                    f"{file}: {owners[hashed]} and {shop.name} of the mall have the same API key; "
                    "give each its own."
                )


def secret_in(file: Path, place: str) -> str:
    """Return the secret in *file*, which not everybody may read; raises Misconfigured."""
    try:
        found = private(file, f"{place}: the secret file").decode().rstrip("\r\n")
    except ValueError:
        raise Misconfigured(f"{place}: the secret file {file} is no text in UTF-8.") from None
    if not found:
        raise Misconfigured(f"{place}: the secret file {file} is empty.")
    return found


def private(file: Path, what: str) -> bytes:
    """Return what is in *file*, unless everybody could read it; raises Misconfigured."""
    try:
        with file.open("rb") as opened:
            mode = file.stat().st_mode
            content = opened.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Misconfigured(f"{what} {file} cannot be read: {error.strerror}.") from None
    if mode & _OTHERS_MAY_READ:
        raise Misconfigured(f"{what} {file} can be read by everybody: `chmod o-rwx` it.")
    if len(content) > _FILE_BYTES_MAX:
        raise Misconfigured(f"{what} {file} has more than {_FILE_BYTES_MAX} bytes.")
    return content
