"""
Another version of an adapter, run over the raw topic beside the one that intake reads with.

Promises: it reads every message that is on the topic now, sends nothing and commits nothing; what
would change is told by order and field, also where one version parks what the other reads. What is
personal is told as changed, never shown.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec

from agents.intake import IMPORTED, shop_of
from schemas.errors import Rejected
from schemas.orders import Statement
from streams.adapters import VERSIONS, Adapter, adapter_for
from streams.masking import HIDDEN, SECRET_NAMES
from streams.raw_log import RawLog
from streams.settings import Settings
from streams.topics import raw

#: Differences that are kept to be shown; all are counted.
KEPT_MAX = 10_000
#: The field of a difference where one version reads a message and the other does not.
_WHOLE = "(message)"
#: Stands beside what the other version does not say at all.
_NOTHING = object()
_PERSONAL = frozenset({"buyer", "receiver", "invoice"})


class Difference(NamedTuple):
    """What one field of one order would become."""

    place: str
    order: str
    field: str
    now: Any
    then: Any


class Replayed(NamedTuple):
    """What a run over the topic found."""

    platform: str
    now: int
    then: int
    messages: int
    #: Messages of which both versions say the same.
    same: int
    differ: int
    #: Field -> how many orders' it would change.
    fields: dict[str, int]
    differences: list[Difference]


def version_of(platform: str, version: int | None) -> Adapter:
    """Return that version of *platform*'s adapter, the newest where None; raises Rejected."""
    adapter_for(platform)
    there = VERSIONS[platform]
    wanted = max(there) if version is None else version
    if wanted not in there:
        known = ", ".join(str(each) for each in sorted(there))
        raise Rejected(
            f"There is no version {wanted} of the adapter {platform!r}; there are {known}. "
            f"An installed package offers one as {platform}@{wanted}: docs/add-a-platform.md."
        )
    return there[wanted]


def _every(shop: str) -> bool:  # noqa: ARG001  every shop is looked at
    return True


async def replay(
    settings: Settings,
    platform: str,
    version: int | None,
    wanted: Callable[[str], bool] = _every,
) -> Replayed:
    """Compare that version with the present one over all *wanted* shops. Raises Unavailable."""
    before, after = adapter_for(platform), version_of(platform, version)
    messages = same = 0
    fields: Counter[str] = Counter()
    kept: list[Difference] = []
    async with RawLog(settings) as log:
        async for record in log.all_now(raw(platform)):
            if not wanted(shop_of(record)):
                continue
            messages += 1
            place = f"{raw(platform)}/{record.partition}/{record.offset}"
            found = list(differences(before, after, record, place))
            same += not found
            fields.update(each.field for each in found)
            kept += found[: KEPT_MAX - len(kept)]
    return Replayed(
        platform, before.version, after.version, messages, same, messages - same,
        dict(fields.most_common()), kept,
    )  # fmt: skip


def differences(before: Adapter, after: Adapter, record: Any, place: str) -> Iterator[Difference]:
    """Yield what *after* says of a raw record otherwise than *before*."""
    shop = shop_of(record)
    payload = record.value or b""
    if payload.startswith(IMPORTED):
        return  # a file's order is in our own form, which no version of the platform's reads
    now, then = _read(before, payload, shop), _read(after, payload, shop)
    if isinstance(now, str) or isinstance(then, str):
        told_now = now if isinstance(now, str) else "is read"
        told_then = then if isinstance(then, str) else "is read"
        if told_now != told_then:
            yield Difference(place, "", _WHOLE, told_now, told_then)
        return
    for key in dict.fromkeys([*now, *then]):
        yield from _of_order(place, key, now.get(key, []), then.get(key, []))


def _read(adapter: Adapter, payload: bytes, shop: str) -> dict[str, list[Statement]] | str:
    """Return the statements by order, or why the message is parked."""
    try:
        said = adapter.parse(payload, shop)
    except Rejected as error:
        return f"is parked: {error}"
    except Exception as error:  # noqa: BLE001  as intake does: a bug in reading parks the message
        return f"is parked: a bug, {type(error).__name__}"
    by_order: dict[str, list[Statement]] = {}
    for statement in said:
        by_order.setdefault(statement.key, []).append(statement)
    return by_order


def _of_order(
    place: str, order: str, now: list[Statement], then: list[Statement]
) -> Iterator[Difference]:
    for one, other in zip_longest(now, then):
        before, after = _flat(one), _flat(other)
        for field in dict.fromkeys([*before, *after]):
            was, will = before.get(field, _NOTHING), after.get(field, _NOTHING)
            if was != will:
                yield Difference(place, order, field, _shown(field, was), _shown(field, will))


def _flat(statement: Statement | None) -> dict[str, Any]:
    """Return every field that is said under its path: `lines[0].quantity`."""
    return {} if statement is None else dict(_leaves(statement, ""))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _leaves(getattr(value, name), f"{path}.{name}" if path else name)
    elif isinstance(value, tuple):
        for nth, each in enumerate(value):
            yield from _leaves(each, f"{path}[{nth}]")
    elif value is not None:
        yield path, value


def _shown(field: str, value: Any) -> Any:
    if value is _NOTHING:
        return None
    is_personal = field.split(".", maxsplit=1)[0] in _PERSONAL or SECRET_NAMES.search(field)
    return HIDDEN if is_personal else value
