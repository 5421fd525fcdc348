"""
Rows become orders: what belongs together is one order; what is bad is named by row and field.

Pure but for reading the file. The same file read the same way gives the same orders in the same
sequence, byte for byte; that is what lets a job go on where another process died.

An order is whole or refused: one bad row of it refuses all its rows, because half an order would be
taken for the whole one. Rows of one order may lie apart, and repeat what is of the order; where
they contradict each other neither is believed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from schemas.base import LINES_MAX
from schemas.errors import MalformedPayload, Rejected
from streams.adapters.currencies import DIGITS
from streams.adapters.imported import FORM
from streams.adapters.mall import strange_in
from streams.adapters.reading import as_object, decode, objects, within
from streams.importing import cells
from streams.importing.cells import Instant, ZoneNeeded
from streams.importing.files import BadFile, Cells, Table, lines, opened, rows
from streams.importing.templates import (
    FIELDS,
    REFUSED_COLUMNS,
    TEMPLATES,
    UNIFIED,
    Field,
    Kind,
    Template,
    of_platform,
    refunds_of,
    statuses_of,
)
from streams.topics import PLATFORMS

#: The times of an order, in the unified form.
TIMES: Final = ("created_at", "paid_at", "shipped_at", "completed_at", "updated_at")
_NESTED: Final = ("buyer", "receiver", "invoice", "shipment")
#: Columns named in one refusal.
_NAMED_MAX: Final = 8
#: How much of a wrong cell a message repeats.
_SHOWN_MAX: Final = 40
#: Different cells of one column that are remembered with their value.
_KNOWN_MAX: Final = 2_000


class Reading(NamedTuple):
    """How a person wants a file to be read."""

    platform: str
    shop: str
    template: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    #: Of times that say no offset.
    zone: str | None = None
    #: Of amounts where the file names no currency.
    currency: str | None = None
    #: Their column -> our field, beside the template's.
    columns: Mapping[str, str] = {}
    #: Columns that no field needs.
    passes: tuple[str, ...] = ()


class Planned(NamedTuple):
    """One order of the file, as the message that would be sent."""

    order_id: str
    rows: tuple[int, ...]
    payload: bytes
    #: When it was placed as the file says it, and as that was read.
    created_said: str
    created_iso: str


class Bad(NamedTuple):
    """Why a row is refused."""

    field: str
    reason: str
    order_id: str = ""


class Plan(NamedTuple):
    """A file, read."""

    table: Table
    template: str
    row_count: int
    orders: list[Planned]
    #: Row -> why it is refused.
    bad: dict[int, Bad]
    #: How times were read: `offset`, or the zone that was chosen -> how many.
    zones: dict[str, int]
    passed_over: tuple[str, ...]


def plan(path: Path, reading: Reading, forced_at_ms: int | None) -> Plan:
    """
    Return what *path* says, read as *reading* wants it; raises Rejected where it cannot be used.

    With *forced_at_ms* every order counts as stated then.
    """
    if reading.platform not in PLATFORMS:
        raise Rejected(
            f"There is no platform {reading.platform!r}; it is one of {', '.join(PLATFORMS)}."
        )
    if reading.zone is not None:
        cells.zone_of(reading.zone)
    if reading.currency is not None and reading.currency not in DIGITS:
        raise Rejected(f"There is no currency {reading.currency!r}; write it as in ISO 4217, CNY.")
    table = opened(path, reading.encoding, reading.sheet)
    forced_at = None if forced_at_ms is None else _iso(forced_at_ms)
    if table.kind == "jsonl":
        if reading.columns or reading.passes:
            raise Rejected("JSON lines have no columns; leave out --column and --pass-over.")
        planner = _Planner(table, UNIFIED, reading, {}, forced_at)
    else:
        template, columns = _columns(table, reading)
        planner = _Planner(table, template, reading, columns, forced_at)
    return planner.plan()


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


# --- columns --------------------------------------------------------------------------------------


def _columns(table: Table, reading: Reading) -> tuple[Template, dict[int, str]]:
    """Return the template, and which column is which field; raises BadFile, Rejected."""
    _check_wishes(table, reading)
    template = _template(table, reading)
    known = {**{name: name for name in FIELDS}, **template.columns, **reading.columns}
    columns = {place: known[name] for place, name in enumerate(table.columns) if name in known}
    passes = {*template.passes, *reading.passes, *REFUSED_COLUMNS}
    unknown = [each for each in table.columns if each not in known and each not in passes]
    if unknown:
        raise BadFile(
            f"{table.path.name}: nobody knows the column{'s' if len(unknown) > 1 else ''} "
            f"{_listed(unknown)} ({template.name}). Say what one is with --column "
            f"{unknown[0]!r}=FIELD, or that none is needed with --pass-over {unknown[0]!r}."
        )
    fields = Counter(columns.values())
    twice = next((field for field, count in fields.items() if count > 1), None)
    if twice is not None:
        both = [table.columns[place] for place, field in columns.items() if field == twice]
        raise BadFile(
            f"{table.path.name}: {_listed(both)} are both {twice}; leave one out with --pass-over."
        )
    if "order_id" not in fields:
        raise BadFile(
            f"{table.path.name}: no column says order_id; `orderflow import templates` lists the "
            "columns that are known."
        )
    if not fields.keys() & {"created_at", "updated_at", "paid_at", "shipped_at", "completed_at"}:
        raise BadFile(f"{table.path.name}: no column says a time; have at least created_at.")
    return template, columns


def _check_wishes(table: Table, reading: Reading) -> None:
    for theirs, field in reading.columns.items():
        if theirs not in table.columns:
            raise Rejected(f"--column: the file has no column {theirs!r}.")
        if field not in FIELDS:
            raise Rejected(
                f"--column: there is no field {field!r}; see `orderflow import templates`."
            )
    for theirs in reading.passes:
        if theirs not in table.columns:
            raise Rejected(f"--pass-over: the file has no column {theirs!r}.")


def _template(table: Table, reading: Reading) -> Template:
    """Return the template that was named, or the one that knows most of the columns."""
    there = {each.name: each for each in of_platform(reading.platform)}
    if reading.template is not None:
        if reading.template not in there:
            raise Rejected(
                f"There is no template {reading.template!r} for {reading.platform}; "
                f"there is {', '.join(there)}."
            )
        return there[reading.template]
    names = set(table.columns)
    return max(there.values(), key=lambda each: (len(names & each.columns.keys()), each is UNIFIED))


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED_MAX])
    return f"{shown} and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else shown


# --- rows -----------------------------------------------------------------------------------------


class _Gathered:
    """What the rows of one order have said so far."""

    __slots__ = ("created_said", "lines", "parts", "rows")

    def __init__(self) -> None:
        self.rows: list[int] = []
        #: Part -> what is said of it; "" is the order itself.
        self.parts: dict[str, dict[str, Any]] = {}
        self.lines: list[dict[str, Any]] = []
        self.created_said = ""


_Read = Callable[[str, str, str | None], Any]


class _Column:
    """One column that is a field."""

    __slots__ = ("is_time", "key", "known", "name", "part", "place", "read")

    def __init__(self, place: int, name: str, field: Field, read: _Read) -> None:
        self.place = place
        self.name = name
        self.part = field.part
        self.key = field.key
        self.read = read
        self.is_time = field.kind is Kind.TIME
        #: Cell and currency -> the value, and for a time how it was read.
        self.known: dict[tuple[str, str | None], tuple[Any, str]] = {}


def _say(gathered: _Gathered, column: _Column, said: str, value: Any) -> None:
    """Note what a row says of its order; raises MalformedPayload where another row contradicts."""
    part = gathered.parts.setdefault(column.part, {})
    if part.setdefault(column.key, value) != value:
        shown = said[:_SHOWN_MAX]
        raise MalformedPayload(
            column.name, f"{shown!r}, and another row of this order says something else"
        )
    if column.name == "created_at" and not gathered.created_said:
        gathered.created_said = said


class _Planner:
    """Reads one table, row by row."""

    def __init__(
        self,
        table: Table,
        template: Template,
        reading: Reading,
        columns: Mapping[int, str],
        forced_at: str | None,
    ) -> None:
        self._table = table
        self._template = template
        self._reading = reading
        self._statuses = statuses_of(template, reading.platform)
        self._refunds = refunds_of(template, reading.platform)
        self._order_place = next((p for p, name in columns.items() if name == "order_id"), 0)
        self._currency_place = next((p for p, name in columns.items() if name == "currency"), None)
        self._default_currency = reading.currency or template.currency
        self._columns = [
            _Column(place, name, FIELDS[name], self._reader(FIELDS[name].kind))
            for place, name in columns.items()
            if name != "order_id"
        ]
        self._forced_at = forced_at
        self._gathered: dict[str, _Gathered] = {}
        self._bad: dict[int, Bad] = {}
        #: Order -> the row that refuses it.
        self._tainted: dict[str, int] = {}
        self._zones: Counter[str] = Counter()
        self._rows = 0

    def plan(self) -> Plan:
        """Return the whole."""
        if self._table.kind == "jsonl":
            orders = list(self._of_lines())
        else:
            for number, row in rows(self._table):
                self._rows += 1
                self._take(number, row)
            orders = list(self._of_rows())
        if not self._rows:
            raise BadFile(f"{self._table.path.name}: there is no row below the first line.")
        known = {self._order_place, *(column.place for column in self._columns)}
        passed = tuple(name for place, name in enumerate(self._table.columns) if place not in known)
        return Plan(
            self._table,
            self._template.name,
            self._rows,
            orders,
            dict(sorted(self._bad.items())),
            dict(self._zones.most_common()),
            passed,
        )

    def _take(self, number: int, row: Cells | None) -> None:
        if row is None:
            self._bad[number] = Bad(
                "(row)", f"it has another number of cells than the first line, "
                f"{len(self._table.columns)}; is a separator unquoted?",
            )  # fmt: skip
            return
        order_id = cells.plain(row[self._order_place])
        try:
            if not order_id:
                raise MalformedPayload("order_id", "the row says no order")  # noqa: TRY301
            cells.an_id("order_id", order_id)
            self._gather(number, order_id, row)
        except MalformedPayload as error:
            self._bad[number] = Bad(error.field, error.why, order_id)
            if error.field != "order_id":
                self._tainted.setdefault(order_id, number)
        except ZoneNeeded as error:
            raise self._ask_for_zone(number, error) from error

    def _gather(self, number: int, order_id: str, row: Cells) -> None:
        gathered = self._gathered.get(order_id)
        if gathered is None:
            gathered = self._gathered[order_id] = _Gathered()
        gathered.rows.append(number)
        currency = self._currency(row)
        line: dict[str, Any] = {}
        for column in self._columns:
            said = row[column.place]
            value = self._value(column, said, currency) if said else None
            if value is None:
                continue
            if column.part == "line":
                line[column.key] = value
            else:
                _say(gathered, column, said, value)
        if line:
            if "quantity" not in line:
                raise MalformedPayload("quantity", "the row has cells of a line and no quantity")
            gathered.lines.append(line)

    def _value(self, column: _Column, said: str, currency: str | None) -> Any:
        """Return what a cell says, None for nothing; most cells say what one before has said."""
        known = column.known.get((said, currency))
        if known is not None:
            if column.is_time:
                self._zones[known[1]] += 1
            return known[0]
        cell = cells.checked(column.name, cells.plain(said))
        if not cell:
            return None
        value = column.read(column.name, cell, currency)
        how = ""
        if column.is_time:
            how = "offset" if value.is_told else self._reading.zone or ""
            self._zones[how] += 1
            value = value.iso
        if len(column.known) < _KNOWN_MAX:
            column.known[said, currency] = value, how
        return value

    def _currency(self, row: Cells) -> str | None:
        if self._currency_place is not None and (said := cells.plain(row[self._currency_place])):
            return cells.a_currency("currency", said)
        return self._default_currency

    def _reader(self, kind: Kind) -> _Read:
        """Return how cells of *kind* are read."""
        zone, statuses, refunds = self._reading.zone, self._statuses, self._refunds
        readers: dict[Kind, _Read] = {
            Kind.ID: lambda name, said, _: cells.an_id(name, said),
            Kind.CODE: lambda name, said, _: cells.a_code(name, said),
            Kind.TEXT: lambda name, said, _: cells.a_text(name, said),
            Kind.STATUS: lambda name, said, _: cells.a_word(name, said, statuses, "status"),
            Kind.REFUND: lambda name, said, _: cells.a_word(name, said, refunds, "refund"),
            Kind.TIME: lambda name, said, _: cells.a_time(name, said, zone),
            Kind.MONEY: cells.an_amount,
            Kind.COUNT: lambda name, said, _: cells.a_count(name, said),
            Kind.CURRENCY: lambda name, said, _: cells.a_currency(name, said),
        }
        return readers[kind]

    def _time(self, name: str, said: str) -> str:
        found = cells.a_time(name, said, self._reading.zone)
        self._zones["offset" if found.is_told else self._reading.zone or ""] += 1
        return found.iso

    def _ask_for_zone(self, number: int, error: ZoneNeeded) -> BadFile:
        """Show how the first naive time would read in the zones that are likely."""
        readings = []
        for zone in self._template.zones:
            try:
                found: Instant = cells.a_time(error.field, error.said, zone)
            except MalformedPayload:
                continue
            at = datetime.fromtimestamp(found.ms / 1000, UTC)
            readings.append(f"{at:%Y-%m-%d %H:%M:%S}Z with --zone {zone}")
        return BadFile(
            f"{self._table.path.name}, row {number}: {error.field} {error.said!r} says no zone, "
            f"and none is assumed. It would be {', '.join(readings)}. Say which with --zone."
        )

    # --- orders -----------------------------------------------------------------------------------

    def _of_rows(self) -> Iterator[Planned]:
        for order_id, gathered in self._gathered.items():
            tainted = self._tainted.get(order_id)
            if tainted is None and len(gathered.lines) > LINES_MAX:
                tainted = gathered.rows[LINES_MAX]
                why = f"{len(gathered.lines)} lines, at most {LINES_MAX} are handled"
                self._bad[tainted] = Bad("lines", why, order_id)
            if tainted is not None:
                self._refuse(order_id, gathered.rows, tainted)
                continue
            body = self._body(order_id, gathered)
            yield Planned(
                order_id,
                tuple(gathered.rows),
                orjson.dumps(body),
                gathered.created_said,
                body.get("created_at", ""),
            )

    def _refuse(self, order_id: str, its_rows: list[int], tainted: int) -> None:
        for number in its_rows:
            self._bad.setdefault(
                number, Bad("order_id", f"row {tainted} of the same order is refused", order_id)
            )

    def _body(self, order_id: str, gathered: _Gathered) -> dict[str, Any]:
        """Return the order in the form that `streams/adapters/imported.py` reads."""
        body: dict[str, Any] = self._head()
        order = gathered.parts.get("", {})
        body |= {"platform_order_id": order_id, **order}
        has_amount = any(key.endswith("_minor") for key in order) or any(
            key.endswith("_minor") for line in gathered.lines for key in line
        )
        if has_amount and "currency" not in body and self._default_currency is not None:
            body["currency"] = self._default_currency
        if gathered.lines:
            body["lines"] = [
                {"line_id": str(nth), **line} for nth, line in enumerate(gathered.lines, 1)
            ]
        for part in _NESTED:
            if said := gathered.parts.get(part):
                body |= {"shipments": [said]} if part == "shipment" else {part: said}
        return body

    def _head(self) -> dict[str, Any]:
        head: dict[str, Any] = {"orderflow_import": FORM, "platform": self._reading.platform}
        if self._forced_at is not None:
            head["forced_at"] = self._forced_at
        return head

    # --- JSON lines -------------------------------------------------------------------------------

    def _of_lines(self) -> Iterator[Planned]:
        seen: dict[str, int] = {}
        for number, line in lines(self._table):
            self._rows += 1
            order_id = ""
            try:
                said = as_object(decode(line), "line")
                order_id = cells.an_id("platform_order_id", str(said.get("platform_order_id", "")))
                if order_id in seen:
                    raise MalformedPayload(  # noqa: TRY301
                        "platform_order_id", f"row {seen[order_id]} is this order already"
                    )
                seen[order_id] = number
                created = str(said.get("created_at") or "")
                body = self._restated(said)
            except MalformedPayload as error:
                self._bad[number] = Bad(error.field, error.why, order_id)
            except ZoneNeeded as error:
                raise self._ask_for_zone(number, error) from error
            except Rejected as error:
                self._bad[number] = Bad("(row)", str(error), order_id)
            else:
                yield Planned(
                    order_id, (number,), orjson.dumps(body), created, body.get("created_at") or ""
                )

    def _restated(self, said: dict[str, Any]) -> dict[str, Any]:
        """Return one line's order with its times placed; raises for what no order has."""
        strange = strange_in(said)
        if strange is not None:
            raise MalformedPayload(strange, "no order has this field")
        platform = said.pop("platform", self._reading.platform)
        if platform != self._reading.platform:
            raise MalformedPayload("platform", f"{platform!r} is not {self._reading.platform}")
        for key in TIMES:
            if said.get(key) is not None:
                said[key] = self._time(key, cells.plain(str(said[key]))) or None
        for at, parcel in objects(said, "shipments", ""):
            if parcel.get("shipped_at") is not None:
                parcel["shipped_at"] = self._time(at + "shipped_at", str(parcel["shipped_at"]))
        within(said, "buyer", "")
        return {**self._head(), **said}


def names(template: str | None) -> list[Template]:
    """Return the template called *template*, or all; raises Rejected."""
    if template is None:
        return list(TEMPLATES.values())
    if template not in TEMPLATES:
        raise Rejected(f"There is no template {template!r}; there is {', '.join(TEMPLATES)}.")
    return [TEMPLATES[template]]
