"""
Labels and fields in PostgreSQL: defined by people, and noted of orders by people.

Promises. Every change has who and when, a definition's also why, and its history is written by the
database itself. An order is changed by whoever saw its last version, and by nobody else: the second
of two is told what the first one wrote, and nothing is written over. Saying again what is there
already is no change and no conflict.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from msgspec import json

from schemas.base import ID_LENGTH_MAX, Word
from schemas.errors import OrderflowError, Rejected
from streams.annotating.definitions import (
    FIELDS_MAX,
    LABELS_MAX,
    LABELS_OF_ORDER_MAX,
    NOTHING,
    Annotation,
    BadAnnotation,
    CustomField,
    Definition,
    Definitions,
    Label,
    Wrong,
    checked,
    wished,
    words_of,
)
from streams.operations.rights import Role
from streams.postgres.connecting import connected
from streams.postgres.queries import sql

Row = Mapping[str, Any]

#: So many orders are labelled at a time.
BULK_MAX = 500
_KEY_LENGTH_MAX = 3 * ID_LENGTH_MAX
_REASON_LENGTH_MAX = 1_000
_connected = partial(connected, name="orderflow-annotating")


class WhyNot(Word):
    """Why nothing was changed about a definition."""

    TAKEN = "taken"
    FULL = "full"
    MEANWHILE = "meanwhile"
    ALREADY = "already"


_SENTENCES = {
    WhyNot.TAKEN: "There is a {code} already; change it, or choose another code.",
    WhyNot.FULL: "There are as many as there may be, retired ones too: change one of those.",
    WhyNot.MEANWHILE: "Somebody changed {code} meanwhile; look at it again.",
    WhyNot.ALREADY: "{code} is so already.",
}


class AsItIs(OrderflowError):  # noqa: N818  an answer
    """It stays as it is."""

    def __init__(self, why: WhyNot, code: str) -> None:
        super().__init__(_SENTENCES[why].format(code=code[:80]))
        self.why = why


class NoSuch(OrderflowError):  # noqa: N818  an answer
    """There is no such order, label or field."""


class Table(Word):
    """Where definitions stand."""

    LABELS = "labels"
    FIELDS = "custom_fields"


_MAX = {Table.LABELS: LABELS_MAX, Table.FIELDS: FIELDS_MAX}


# --- what is defined ------------------------------------------------------------------------------


async def definitions(connection: Any) -> Definitions:
    """Return all that is defined, on a connection or pool that may read it."""
    labels = [_label_of(row) for row in await connection.fetch(sql("labels"))]
    fields = [_field_of(row) for row in await connection.fetch(sql("custom_fields"))]
    return Definitions({each.code: each for each in labels}, {each.code: each for each in fields})


def _label_of(row: Row) -> Label:
    return Label(**row)


def _field_of(row: Row) -> CustomField:
    return CustomField(**{**row, "choices": tuple(row["choices"]), "roles": tuple(row["roles"])})


_OF: dict[Table, Callable[[Row], Definition]] = {
    Table.LABELS: _label_of,
    Table.FIELDS: _field_of,
}


async def add(dsn: str, definition: Definition, by: str, why: str) -> None:
    """Define something new. Raises BadAnnotation, AsItIs, LedgerUnavailable."""
    made, table = checked(definition), _table_of(definition)
    _refuse_nameless(by, why)
    async with _connected(dsn) as connection, connection.transaction():
        await connection.execute(sql("one_definer_at_a_time"))
        there = await connection.fetch(sql(table))
        if made.code in {row["code"] for row in there}:
            raise AsItIs(WhyNot.TAKEN, made.code)
        if len(there) >= _MAX[table]:
            raise AsItIs(WhyNot.FULL, made.code)
        await connection.execute(sql(f"add_{table}"), by, why, *_values(made))


async def change(
    dsn: str, definition: Definition, by: str, why: str, seen: int | None = None
) -> None:
    """
    Let what is defined be *definition*; its kind stays, and so does whether it is retired.

    Raises BadAnnotation, NoSuch, LedgerUnavailable, and AsItIs where it was changed since version
    *seen*, or is so already.
    """
    table = _table_of(definition)
    _refuse_nameless(by, why)
    async with _connected(dsn) as connection, connection.transaction():
        before = await _locked(connection, table, definition.code, seen)
        if isinstance(before, CustomField) and isinstance(definition, CustomField):
            definition = definition._replace(kind=before.kind)
        made = checked(definition)
        if _values(made) == _values(before):
            raise AsItIs(WhyNot.ALREADY, made.code)
        await connection.execute(sql(f"change_{table}"), by, why, *_values(made))


async def retire(
    dsn: str, table: Table, code: str, by: str, why: str, seen: int | None = None, *, again: bool
) -> None:
    """
    Let nobody use a label or field any more, or let it be used *again*; orders keep what they have.

    Raises NoSuch, AsItIs, LedgerUnavailable.
    """
    _refuse_nameless(by, why)
    async with _connected(dsn) as connection, connection.transaction():
        before = await _locked(connection, table, code, seen)
        if before.is_retired != again:
            raise AsItIs(WhyNot.ALREADY, code)
        await connection.execute(sql(f"retire_{table}"), by, why, code, not again)


async def one(dsn: str, table: Table, code: str) -> Definition:
    """Return one definition. Raises NoSuch, LedgerUnavailable."""
    async with _connected(dsn) as connection, connection.transaction():
        return await _locked(connection, table, code, None)


async def _locked(connection: Any, table: Table, code: str, seen: int | None) -> Definition:
    row = None if "\0" in code else await connection.fetchrow(sql(f"lock_{table}"), code)
    if row is None:
        raise NoSuch(f"There is no {code[:80]!r} in {table}.")
    found = _OF[table](row)
    if seen is not None and seen != found.version:
        raise AsItIs(WhyNot.MEANWHILE, code)
    return found


def _table_of(definition: Definition) -> Table:
    return Table.LABELS if isinstance(definition, Label) else Table.FIELDS


def _values(definition: Definition) -> tuple[Any, ...]:
    """Return what is written of *definition*, in the order of its statements."""
    if isinstance(definition, Label):
        return definition.code, definition.zh, definition.en, definition.colour
    field = definition
    return (
        field.code, field.zh, field.en, field.kind, list(field.choices), field.least, field.most,
        list(field.roles),
    )  # fmt: skip


def _refuse_nameless(by: str, why: str) -> None:
    for name, said in (("operator", by), ("reason", why)):
        if not said.strip() or "\0" in said or len(said) > _REASON_LENGTH_MAX:
            raise Rejected(f"The {name} is empty or too long; it stays in the history.")


# --- what orders carry ----------------------------------------------------------------------------


class Overtaken(NamedTuple):
    """Somebody else was quicker; nothing was written."""

    #: What stands now, and what stood when the form was opened.
    now: Annotation
    before: Annotation


def annotation_of(row: Row) -> Annotation:
    """Return what an order carries as PostgreSQL has it."""
    return Annotation(
        row["version"], tuple(row["labels"]), json.decode(row["fields"], type=dict[str, str]),
        row["changed_by"], row["changed_at"],
    )  # fmt: skip


async def annotate(
    dsn: str,
    key: str,
    labels: Iterable[str],
    fields: Mapping[str, str],
    seen: int,
    by: str,
    role: Role,
) -> Annotation | Overtaken:
    """
    Let an order carry all of *labels*, and *fields* changed, if its version is *seen* (0: none).

    Returns what it carries then; saying what it carries already changes nothing.

    Raises BadAnnotation, NoSuch for an order nobody knows, LedgerUnavailable.
    """
    async with _connected(dsn) as connection, connection.transaction():
        known = await definitions(connection)
        if not await _known(connection, [key]):
            raise NoSuch(f"There is no order {key[:80]!r}.")
        now = (await _annotations(connection, "lock_annotations", [key])).get(key, NOTHING)
        if now.version == seen:
            after = wished(now, labels, fields, known, role)
            if after.carries(now):
                return now
            if (written := await _write(connection, key, after, by)) is not None:
                return written
            # Nothing stood there, and somebody else was the first.
            now = (await _annotations(connection, "annotations_of", [key]))[key]
        if _is_so(now, labels, fields, known, role):
            return now
        row = await connection.fetchrow(sql("annotation_at"), key, seen)
        return Overtaken(now, annotation_of(row) if row else NOTHING)


def _is_so(
    now: Annotation,
    labels: Iterable[str],
    fields: Mapping[str, str],
    known: Definitions,
    role: Role,
) -> bool:
    try:
        return wished(now, labels, fields, known, role).carries(now)
    except BadAnnotation:
        return False


async def label(dsn: str, keys: Sequence[str], code: str, by: str, *, off: bool) -> dict[str, str]:
    """
    Put a label on orders, or take it *off*; return what became of each.

    `changed`, `unchanged`, `unknown` (no such order), or `full` (it carries as many as it may).
    Raises BadAnnotation, Rejected for too many orders, LedgerUnavailable.
    """
    wanted = sorted({key for key in keys if 0 < len(key) <= _KEY_LENGTH_MAX and "\0" not in key})
    if len(wanted) > BULK_MAX:
        raise Rejected(f"{len(wanted)} orders; label at most {BULK_MAX} at once.")
    async with _connected(dsn) as connection, connection.transaction():
        label_ = (await definitions(connection)).labels.get(code)
        if label_ is None:
            raise BadAnnotation(Wrong.LABEL, code)
        if label_.is_retired and not off:
            raise BadAnnotation(Wrong.LABEL_RETIRED, code)
        known = await _known(connection, wanted)
        carried = await _annotations(connection, "lock_annotations", wanted)
        done = dict.fromkeys(wanted, "unknown")
        for key in wanted:
            if key in known:
                done[key] = await _label(connection, key, carried.get(key, NOTHING), code, by, off)
        return done


async def _label(
    connection: Any,
    key: str,
    now: Annotation,
    code: str,
    by: str,
    off: bool,  # noqa: FBT001
) -> str:
    while True:
        labels = {*now.labels} - {code} if off else {*now.labels, code}
        if labels == {*now.labels}:
            return "unchanged"
        if len(labels) > LABELS_OF_ORDER_MAX:
            return "full"
        if await _write(connection, key, now._replace(labels=tuple(sorted(labels))), by):
            return "changed"
        # Nothing stood there, and somebody else was the first: what they wrote is ours to lock now.
        now = (await _annotations(connection, "lock_annotations", [key]))[key]


async def _known(connection: Any, keys: Sequence[str]) -> set[str]:
    return {row["order_key"] for row in await connection.fetch(sql("orders_there"), keys)}


async def _annotations(
    connection: Any, statement: str, keys: Sequence[str]
) -> dict[str, Annotation]:
    rows = await connection.fetch(sql(statement), keys)
    return {row["order_key"]: annotation_of(row) for row in rows}


async def _write(connection: Any, key: str, after: Annotation, by: str) -> Annotation | None:
    """Write what *key* carries after version `after.version`; None: another one stands there."""
    fields = json.encode(after.fields).decode()
    row = await connection.fetchrow(
        sql("annotate_order"), key, after.version, list(after.labels), fields, words_of(after), by
    )
    if row is None:
        return None
    return after._replace(version=row["version"], by=by, at=row["changed_at"])
