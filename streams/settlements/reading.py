"""
A settlement file's rows as lines: one amount each, of one kind, of one order or of none.

Pure but for reading the file: the same file read the same way gives the same lines. A file whose
columns are not those of its platform is refused; a row that is bad is named with field and reason,
and whoever takes the file refuses it then, because sums over a part of it would differ from ours
for no reason.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from agents.settlements import Kind
from schemas.errors import MalformedPayload, Rejected
from streams.adapters.currencies import DIGITS
from streams.adapters.reading import signed_money
from streams.importing import cells
from streams.importing.cells import ZoneNeeded
from streams.importing.files import BadFile, Cells, Table, opened, rows
from streams.settlements.templates import (
    TEMPLATES,
    Column,
    Role,
    Sign,
    Template,
    kind_of,
    missing,
    named,
    of_platform,
    plain_name,
)

#: Columns named in one refusal.
_NAMED_MAX: Final = 8
_TEXT_LENGTH_MAX: Final = 200
_DIGEST_DIGITS: Final = 32
_BETWEEN: Final = "\x1f"
#: 09.06.2026 05:23:19 UTC: with dots and the year last, the day is first wherever it is written.
_DOTTED = re.compile(r"([0-9]{2})\.([0-9]{2})\.([0-9]{4})(?= |\Z)")
_THOUSANDS = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_COMMA = re.compile(r"[0-9]+,[0-9]{1,2}")


class Reading(NamedTuple):
    """How a person wants a file to be read."""

    platform: str
    shop: str
    encoding: str | None = None
    sheet: str | None = None
    #: Of times without an offset, instead of the template's.
    zone: str | None = None
    #: Columns that nobody needs, beside the template's.
    passes: tuple[str, ...] = ()


class Line(NamedTuple):
    """One amount of a file."""

    #: Row, as a spreadsheet counts it, and which of its amounts: the column's first name, or "" for
    #: what its whole has beside them. The same in every file, whatever other columns that has.
    row: int
    part: str
    #: The platform's id of the movement, or a digest of what tells it from others.
    movement: str
    #: The order as the file calls it; None: it is of none.
    order: str | None
    kind: Kind
    #: What the file calls it.
    word: str
    #: Minor units; what the shop gets is positive.
    amount: int
    currency: str
    at_ms: int


class Bad(NamedTuple):
    """Why a row cannot be used."""

    row: int
    field: str
    reason: str


class Look(NamedTuple):
    """A file, read."""

    table: Table
    template: Template
    row_count: int
    lines: list[Line]
    #: Name of an order -> its id, where the file tells that.
    names: dict[str, str]
    bad: list[Bad]
    #: What the file says it comes to.
    stated: int | None
    passed_over: tuple[str, ...]

    @property
    def adds_up(self) -> bool | None:
        """Whether the lines come to what the file says; None: it does not say."""
        if self.stated is None:
            return None
        return sum(line.amount for line in self.lines) == self.stated


def read(path: Path, reading: Reading) -> Look:
    """Return what *path* says; raises Rejected where it cannot be used at all."""
    of_platform(reading.platform)
    if not reading.shop or not reading.shop.isprintable() or " " in reading.shop:
        raise Rejected("Name the shop whose orders these are, as the reference data calls it.")
    if reading.zone is not None:
        cells.zone_of(reading.zone)
    table = opened(path, reading.encoding, reading.sheet, _remark(reading.platform))
    if table.kind == "jsonl":
        raise BadFile(f"{path.name}: JSON lines; a settlement file is CSV or XLSX.")
    template = _template(table, reading)
    return _Reader(table, template, reading).look()


def _remark(platform: str) -> str:
    return next((t.remark for t in TEMPLATES.values() if platform in t.platforms and t.remark), "")


def _template(table: Table, reading: Reading) -> Template:
    """Return the template whose needed columns are all there; raises BadFile."""
    platform, there = reading.platform, _names(table)
    own = [
        each
        for each in TEMPLATES.values()
        if platform in each.platforms and not missing(each, there)
    ]
    if own:
        return own[0]
    other = _other(table, reading)
    if other is not None:
        raise BadFile(
            f"{table.path.name}: this is a file of {other.platforms[0]} ({other.title}), not of "
            f"{platform}; say --platform {other.platforms[0]}, or choose the right file."
        )
    wanted = min(
        (each for each in TEMPLATES.values() if platform in each.platforms),
        key=lambda each: len(missing(each, there)),
    )
    raise BadFile(
        f"{table.path.name}: it lacks {_listed(missing(wanted, there))}, which {wanted.title} has; "
        "`orderflow settlement templates` lists the columns that are known."
    )


def _names(table: Table) -> frozenset[str]:
    return frozenset(plain_name(name) for name in table.columns)


def _other(table: Table, reading: Reading) -> Template | None:
    """Return another platform's template that fits, also one whose table has remarks around it."""
    for each in TEMPLATES.values():
        if each.remark != table.remark:
            with suppress(BadFile):
                around = opened(table.path, reading.encoding, reading.sheet, each.remark)
                if not missing(each, _names(around)):
                    return each
        elif not missing(each, _names(table)):
            return each
    return None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED_MAX])
    return f"{shown} and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else shown


class _Row(NamedTuple):
    """What the cells of one row are, but for its amounts."""

    number: int
    cells: Cells
    currency: str
    at_ms: int
    order: str | None
    #: All that its columns of words say, and what is kept of it: remarks are people's.
    words: str
    word: str


class _Reader:
    """Reads one table, row by row."""

    def __init__(self, table: Table, template: Template, reading: Reading) -> None:
        self._table = table
        self._template = template
        self._zone = reading.zone or template.zone
        self._passed = self._refuse_unknown(reading.passes)
        self._places = _places(table, template)
        self._order = re.compile(template.order_form)
        self._carried: dict[int, str] = {}
        #: Digest of a movement without an id -> how many of the rows were like that.
        self._alike: Counter[str] = Counter()
        self._rows = 0
        self._lines: list[Line] = []
        self._names: dict[str, str] = {}
        self._bad: list[Bad] = []
        self._stated: int | None = None

    def look(self) -> Look:
        take = self._take_name if self._template.tells_names else self._take
        for number, row in rows(self._table):
            self._rows += 1
            try:
                take(number, self._whole(row))
            except MalformedPayload as error:
                self._bad.append(Bad(number, error.field, error.why))
            except ZoneNeeded as error:
                raise BadFile(
                    f"{self._table.path.name}, row {number}: {error.field} {error.said!r} says no "
                    "zone, and none is assumed; say which with --zone."
                ) from error
        if not self._rows:
            raise BadFile(f"{self._table.path.name}: there is no row below the first line.")
        return Look(
            self._table, self._template, self._rows, self._lines, self._names, self._bad,
            self._stated, self._passed,
        )  # fmt: skip

    def _whole(self, row: Cells | None) -> Cells:
        if row is None:
            why = "it has another number of cells than the first line: is a separator unquoted?"
            raise MalformedPayload("(row)", why)
        return row

    def _refuse_unknown(self, wished: tuple[str, ...]) -> tuple[str, ...]:
        """Return the columns that are passed over; raises BadFile for one that nobody knows."""
        known = named(self._template)
        passes = {plain_name(name) for name in (*self._template.passes, *wished)}
        others = [name for name in self._table.columns if plain_name(name) not in known]
        unknown = [name for name in others if plain_name(name) not in passes]
        if unknown:
            s = "s" if len(unknown) > 1 else ""
            raise BadFile(
                f"{self._table.path.name}: nobody knows the column{s} {_listed(unknown)} "
                f"({self._template.name}). If there is no money in it, say "
                f"--pass-over {unknown[0]!r}."
            )
        return tuple(others)

    # --- cells ------------------------------------------------------------------------------------

    def _said(self, place: int, row: Cells, *, carried: bool = False) -> str:
        said = cells.checked(self._table.columns[place], cells.plain(row[place]))
        if not carried:
            return said
        if said:
            self._carried[place] = said
        return said or self._carried.get(place, "")

    def _first(self, role: Role, row: Cells) -> tuple[str, str]:
        """Return the column and cell of the first of a role that says something."""
        name = ""
        for place, column in self._places[role]:
            name = name or self._table.columns[place]
            if said := self._said(place, row, carried=column.carried):
                return self._table.columns[place], said
        return name, ""

    def _take_name(self, _: int, row: Cells) -> None:
        name = self._first(Role.ORDER_NAME, row)[1]
        field, order = self._first(Role.ORDER, row)
        if not name or not order:
            return  # further lines of an order say neither again
        if self._names.setdefault(name, cells.an_id(field, order)) != order:
            raise MalformedPayload(field, f"{name} is another order's name already")

    def _take(self, number: int, row: Cells) -> None:
        for places in (self._places[Role.TIME], self._places[Role.CURRENCY]):
            for place, column in places:
                if column.carried:
                    self._said(place, row, carried=True)
        currency = self._currency(row)
        if self._is_summary(row, currency):
            return
        parts = self._parts(row, currency)
        if not parts:
            return
        field, said = self._first(Role.TIME, row)
        if not said:
            raise MalformedPayload(field, "the row says no time")
        at = cells.a_time(field, _DOTTED.sub(r"\3-\2-\1", said), self._zone)
        kept = _Row(number, row, currency, at.ms, self._order_of(row), *self._words(row))
        movement = self._movement(row)
        self._lines += [self._line(kept, movement, column, amount) for column, amount in parts]

    def _line(self, row: _Row, movement: str, column: Column | None, amount: int) -> Line:
        kind = None if column is None else column.kind
        word = row.word if kind is None or column is None else column.name
        kind = kind or kind_of(self._template.name, row.words)
        if column is not None and column.sign is Sign.OUT and kind is Kind.PAYMENT:
            kind = Kind.OTHER  # the shop paid somebody, as a buyer does
        if column is None and kind is Kind.PAYMENT:
            kind = Kind.OTHER  # what is left when the parts are known was not paid by a buyer
        order = None if kind is Kind.TRANSFER else row.order
        return Line(
            row.number, column.name if column else "", movement, order, kind,
            word[:_TEXT_LENGTH_MAX], amount, row.currency, row.at_ms,
        )  # fmt: skip

    def _currency(self, row: Cells) -> str:
        field, said = self._first(Role.CURRENCY, row)
        if not said and self._template.currency is None:
            raise MalformedPayload(field, "neither this row nor one before says the currency")
        return cells.a_currency(field, said.upper() or self._template.currency or "")

    def _is_summary(self, row: Cells, currency: str) -> bool:
        """Say whether a row is of the whole file, and keep what it says."""
        field, said = self._first(Role.TOTAL, row)
        if not said:
            return False
        self._stated = (self._stated or 0) + _amount(field, said, currency)
        return not any(self._said(place, row) for place, _ in self._places[Role.AMOUNT])

    def _order_of(self, row: Cells) -> str | None:
        for role in (Role.ORDER, Role.ORDER_NAME):
            field, said = self._first(role, row)
            if said:
                found = self._order.fullmatch(said)
                return cells.an_id(field, found.group(1) if found else said)
        return None

    def _words(self, row: Cells) -> tuple[str, str]:
        """Return all that says what a movement is, and that without remarks."""
        said = [(self._said(place, row), column) for place, column in self._places[Role.WORD]]
        words = (each for each, _ in said if each)
        kept = (each for each, column in said if each and column.needed)
        return " / ".join(words), " / ".join(kept)

    def _movement(self, row: Cells) -> str:
        """Return the id of a movement, or a digest of it: the n-th of those that are alike."""
        places = self._places[Role.TRANSACTION]
        if places:
            field, said = self._first(Role.TRANSACTION, row)
            if not said:
                raise MalformedPayload(field, "the row says no id of its movement")
            return cells.an_id(field, said)
        told = _BETWEEN.join(row[place].strip() for place, _ in self._places[Role.IDENTITY])
        digest = sha256(told.encode()).hexdigest()[:_DIGEST_DIGITS]
        self._alike[digest] += 1
        return f"{digest}.{self._alike[digest]}"

    # --- amounts ----------------------------------------------------------------------------------

    def _parts(self, row: Cells, currency: str) -> list[tuple[Column | None, int]]:
        """Return the amounts of a row that are not 0, and what its whole has beside them."""
        parts: list[tuple[Column | None, int]] = []
        is_said = False
        for place, column in self._places[Role.AMOUNT]:
            said = self._said(place, row)
            if not said:
                continue
            is_said = True
            amount = _signed(column, _amount(self._table.columns[place], said, currency))
            if amount:
                parts.append((column, amount))
        rest = self._net(row, currency)
        if rest is None and not is_said:
            raise MalformedPayload(self._names_of(Role.AMOUNT), "the row has no amount")
        beside = 0 if rest is None else rest - sum(amount for _, amount in parts)
        if beside:
            parts.append((None, beside))
        return parts

    def _net(self, row: Cells, currency: str) -> int | None:
        field, said = self._first(Role.NET, row)
        if not said:
            return None
        amount = _amount(field, said, currency)
        direction = self._first(Role.DIRECTION, row)[1]
        return -abs(amount) if direction in self._template.out else amount

    def _names_of(self, role: Role) -> str:
        return ", ".join(self._table.columns[place] for place, _ in self._places[role][:2])


def _places(table: Table, template: Template) -> Mapping[Role, list[tuple[int, Column]]]:
    """Return where the columns of each role stand, in the template's sequence."""
    where = {plain_name(name): place for place, name in enumerate(table.columns)}
    found: dict[Role, list[tuple[int, Column]]] = {role: [] for role in Role}
    for column in template.columns:
        spelt = (plain_name(name) for name in (column.name, *column.also))
        place = next((where[name] for name in spelt if name in where), None)
        if place is not None:
            found[column.role].append((place, column))
    return found


def _signed(column: Column, amount: int) -> int:
    match column.sign:
        case Sign.TURNED:
            return -amount
        case Sign.OUT:
            return -abs(amount)
        case _:
            return amount


def _amount(field: str, said: str, currency: str) -> int:
    """Return an amount in minor units: 1,234.50 and, as Amazon writes it in Europe, 12,50."""
    text = re.sub(r"[¥￥$€£\s]", "", said).removeprefix("+")
    minus, text = text[:1] == "-", text.removeprefix("-")
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    elif _COMMA.fullmatch(text):
        text = text.replace(",", ".")
    found = signed_money({field: f"-{text}" if minus else text}, field, "", DIGITS[currency])
    if found is None:
        raise cells.wrong(field, said, "an amount of money")
    return found
