"""
The alerts file: channels, changed rules, the canary, folders and addresses to watch. One TOML file.

Promises. It is taken whole or not at all: what is wrong is named by its place and its field, never
by what it holds, and nothing has begun by then. A file that everybody may read is refused, because
a robot's address is a secret. Without a file the rules are those of the house, and the log is the
only channel.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from agents.alert_rules import RULES, SIGNALS
from agents.paging import Kind
from schemas.alerts import Rule
from schemas.errors import Misconfigured
from streams.alerting.channels import Channel
from streams.gateway.shops import PLACEHOLDER, checked, private, secret_in

#: More channels, rules, folders or addresses are a mistake.
LISTED_MAX = 100
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SECTIONS = ("channels", "rules", "canary", "disks", "watch", "self_test")
_STRICT = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
_Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
_Secret = Annotated[SecretStr, Field(min_length=1, max_length=2_000)]


class _ChannelEntry(BaseModel):
    model_config = _STRICT

    name: _Name
    kind: Kind
    url: _Secret | None = None
    url_file: Path | None = None
    secret: _Secret | None = None
    secret_file: Path | None = None


class _CanaryEntry(BaseModel):
    model_config = _STRICT

    #: The gateway's `/v1/orders`, and the API key of the canary's shop.
    url: str
    shop: _Name
    key: _Secret | None = None
    key_file: Path | None = None
    sku: Annotated[str, Field(min_length=1, max_length=100)] = "CANARY"
    every_s: Annotated[float, Field(gt=0, le=3600)] = 60


class _DisksEntry(BaseModel):
    model_config = _STRICT

    folders: Annotated[tuple[Path, ...], Field(max_length=LISTED_MAX)]


class _SelfTestEntry(BaseModel):
    model_config = _STRICT

    #: The hour and minute of each day, in *zone*.
    at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "09:00"
    zone: str = "Asia/Shanghai"


@dataclass(frozen=True, kw_only=True, slots=True)
class Canary:
    """The order that proves the whole chain."""

    url: str
    shop: str
    key: str = field(repr=False)
    sku: str
    every_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTest:
    """When a day's self-test is due."""

    hour: int = 9
    minute: int = 0
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Asia/Shanghai"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is watched, and who is told."""

    rules: tuple[Rule, ...]
    channels: tuple[Channel, ...]
    canary: Canary | None = None
    folders: tuple[Path, ...] = ()
    #: Name -> an address that answers below 500 while its process lives.
    watch: Mapping[str, str] = field(default_factory=dict)
    self_test: SelfTest = field(default_factory=SelfTest)

    def names(self, wanted: Sequence[str]) -> list[str]:
        """Return the channels a notice goes to: those *wanted*, or all."""
        return [each.name for each in self.channels if not wanted or each.name in wanted]


_LOG_ALONE = (Channel(name="log", kind=Kind.LOG),)


def read(file: Path | None) -> Plan:
    """Return what *file* says, or what holds without one; raises Misconfigured."""
    if file is None or file == Path():
        return Plan(rules=tuple(each for each in RULES if each.enabled), channels=_LOG_ALONE)
    try:
        # Neither the decoder's words nor TOML's are repeated: they may quote a secret.
        said = tomllib.loads(private(file, "The alerts file").decode())
    except ValueError:
        raise Misconfigured(f"The alerts file {file} is no TOML in UTF-8; correct it.") from None
    if unknown := sorted(set(said) - set(_SECTIONS)):
        raise Misconfigured(
            f"The alerts file {file}: there is no section {unknown[0]!r}; there are "
            f"{', '.join(_SECTIONS)}."
        )
    channels = tuple(
        _channel(entry, f"{file}, channels entry {nth}", file.parent)
        for nth, entry in enumerate(_listed(said, "channels", file), start=1)
    )
    channels = channels or _LOG_ALONE
    _refuse_twice([each.name for each in channels], f"{file}, channels")
    rules = _rules(_listed(said, "rules", file), file, [each.name for each in channels])
    disks = said.get("disks")
    return Plan(
        rules=tuple(each for each in rules if each.enabled),
        channels=channels,
        canary=_canary(said.get("canary"), f"{file}, canary", file.parent),
        folders=_folders(disks, f"{file}, disks") if disks is not None else (),
        watch=_watch(said.get("watch"), f"{file}, watch"),
        self_test=_self_test(said.get("self_test"), f"{file}, self_test"),
    )


def _listed(said: Mapping[str, Any], section: str, file: Path) -> list[Any]:
    found = said.get(section, [])
    if not isinstance(found, list) or len(found) > LISTED_MAX:
        raise Misconfigured(
            f"The alerts file {file}: write [[{section}]], at most {LISTED_MAX} times."
        )
    return found


def _refuse_twice(names: Sequence[str], place: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise Misconfigured(f"{place}: {name} stands there twice.")


# --- channels -------------------------------------------------------------------------------------


def _channel(said: Any, place: str, folder: Path) -> Channel:
    entry = checked(_ChannelEntry, said, place)
    url = _secret(entry.url, entry.url_file, "url", place, folder)
    secret = _secret(entry.secret, entry.secret_file, "secret", place, folder)
    if entry.kind is Kind.LOG:
        if url or secret:
            raise Misconfigured(f"{place}: the log has neither url nor secret; leave them out.")
        return Channel(name=entry.name, kind=entry.kind)
    if not url:
        raise Misconfigured(f"{place}: url: {entry.kind} needs one, or url_file.")
    if entry.kind is Kind.WECOM and secret:
        raise Misconfigured(f"{place}: secret: a WeCom robot has none: its key is in its url.")
    if entry.kind is Kind.WEBHOOK and secret:
        _refuse_unusable_secret(secret, place)
    return Channel(
        name=entry.name, kind=entry.kind, url=_address(url, f"{place}: url"), secret=secret
    )


def _secret(given: SecretStr | None, file: Path | None, name: str, place: str, folder: Path) -> str:
    if given is not None and file is not None:
        raise Misconfigured(f"{place}: give {name} or {name}_file, not both.")
    found = given.get_secret_value() if given is not None else ""
    if file is not None:
        found = secret_in(folder / file, place)
    if PLACEHOLDER in found:
        raise Misconfigured(f"{place}: {name}: put your own in place of {PLACEHOLDER}.")
    return found


def _address(url: str, place: str, *, ours: bool = False) -> str:
    """
    Return *url*; raises Misconfigured, without repeating it, where it cannot be asked.

    One that is not *ours* carries a secret over other people's networks.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    blank = any(each.isspace() or not each.isprintable() for each in url)
    if parts.scheme not in ("http", "https") or not host or port == 0 or blank:
        raise Misconfigured(f"{place}: this is no URL such as https://host/path.")
    if parts.scheme == "http" and host not in _LOOPBACK and not ours:
        raise Misconfigured(f"{place}: write https; over http its key could be read on the way.")
    return url


def _refuse_unusable_secret(secret: str, place: str) -> None:
    from base64 import b64decode  # noqa: PLC0415  used here alone

    try:
        key = b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise Misconfigured(
            f"{place}: secret: write whsec_ and 24 to 64 bytes in base64 (Standard Webhooks)."
        )


# --- rules ----------------------------------------------------------------------------------------


def _rules(said: list[Any], file: Path, channels: Sequence[str]) -> list[Rule]:
    rules = {each.name: each for each in RULES}
    names = []
    for nth, entry in enumerate(said, start=1):
        place = f"{file}, rules entry {nth}"
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise Misconfigured(f"{place}: name: say which rule it is.")
        name = entry["name"]
        names.append(name)
        before = msgspec.to_builtins(rules[name]) if name in rules else {}
        rules[name] = _rule({**before, **entry}, place, channels)
    _refuse_twice(names, f"{file}, rules")
    return list(rules.values())


def _rule(said: dict[str, Any], place: str, channels: Sequence[str]) -> Rule:
    if unknown := sorted(set(said) - set(Rule.__struct_fields__)):
        raise Misconfigured(
            f"{place}: {unknown[0]}: a rule has no such field; there are "
            f"{', '.join(Rule.__struct_fields__)}."
        )
    try:
        rule = msgspec.convert(said, Rule)
    except msgspec.ValidationError as error:
        raise Misconfigured(f"{place}: {error}.") from None
    if rule.signal not in SIGNALS:
        raise Misconfigured(f"{place}: signal: it is one of {', '.join(SIGNALS)}.")
    if rule.clear > rule.threshold:
        raise Misconfigured(f"{place}: clear: it lies above the threshold; write at most that.")
    for name in rule.channels:
        if name not in channels:
            raise Misconfigured(f"{place}: channels: there is no channel {name!r}.")
    return rule


# --- the rest -------------------------------------------------------------------------------------


def _canary(said: Any, place: str, folder: Path) -> Canary | None:
    if said is None:
        return None
    entry = checked(_CanaryEntry, said, place)
    key = _secret(entry.key, entry.key_file, "key", place, folder)
    if not key:
        raise Misconfigured(f"{place}: key: give the API key of its shop, or key_file.")
    url = _address(entry.url, f"{place}: url", ours=True)
    return Canary(url=url, shop=entry.shop, key=key, sku=entry.sku, every_s=entry.every_s)


def _folders(said: Any, place: str) -> tuple[Path, ...]:
    folders = checked(_DisksEntry, said, place).folders
    for folder in folders:
        if not folder.is_dir():
            raise Misconfigured(f"{place}: folders: {folder} is no folder here.")
    return folders


def _watch(said: Any, place: str) -> dict[str, str]:
    if said is None:
        return {}
    if not isinstance(said, dict) or len(said) > LISTED_MAX:
        raise Misconfigured(f'{place}: write name = "url", at most {LISTED_MAX} times.')
    for name, url in said.items():
        if not isinstance(url, str):
            raise Misconfigured(f"{place}: {name}: this is no URL.")
        _address(url, f"{place}: {name}", ours=True)
    return said


def _self_test(said: Any, place: str) -> SelfTest:
    entry = checked(_SelfTestEntry, said if said is not None else {}, place)
    try:
        zone = ZoneInfo(entry.zone)
    except (KeyError, ValueError, OSError):
        raise Misconfigured(f"{place}: zone: there is no zone {entry.zone!r}.") from None
    hour, minute = entry.at.split(":")
    return SelfTest(hour=int(hour), minute=int(minute), zone=zone)
