"""
I4: every message has one outcome.

A raw message becomes statements in `order-commands` or is parked whole; never both, never
neither, unless it is a probe, or waits because its shop is paused. A statement becomes an order
event or is parked by the keeper. Every ask of the order keeper has one answer, every other letter
to the stock keeper one event, every operator's command one answer. Kept as balances that return to
zero, so that memory does not grow with what is in order.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from streams.check.report import Claims, Place
from streams.check.wire import Record, parse
from streams.check.words import (
    LINE_PLACES,
    OF_HOLDS,
    PARKED_FIELDS,
    RETURNS,
    STATEMENT_FIELDS,
)

_OBSERVED, _PARKED, _THERE, _PROBE, _HELD = 1, 2, 4, 8, 16
_STATED = {name: place for place, name in enumerate(STATEMENT_FIELDS)}
_AMOUNTS = [_STATED[n] for n in ("currency", "total", "shipping", "discount", "tax", "paid")]
_LETTER = {name: place for place, name in enumerate(PARKED_FIELDS)}


def _is_douyin_probe(value: bytes) -> bool:
    """`[{"tag": "0", …}]`: Douyin asks whether anybody listens (platforms.md)."""
    if b'"0"' not in value:
        return False
    said = parse(value)
    return (
        isinstance(said, list)
        and bool(said)
        and all(isinstance(part, dict) and part.get("tag") == "0" for part in said)
    )


#: Raw topic -> what recognises a message that says nothing of any order.
PROBES: dict[str, Callable[[bytes], bool]] = {"raw-orders-douyin": _is_douyin_probe}


class Ask:
    """One attempt of an order, as the letters have it."""

    __slots__ = ("answered", "asked", "cause", "refused", "wants")

    def __init__(self, cause: str) -> None:
        self.cause = cause
        self.asked = 0
        self.answered = 0
        #: (SKU, why, what was available) of every no.
        self.refused: list[tuple[str, str, int]] = []
        #: What was asked for: hashes of SKU, quantity, deadline and cause.
        self.wants: set[int] = set()


class Statements:
    """What platforms said of each order, as hashes: whatever is told of it must be among them."""

    def __init__(self) -> None:
        self._said: defaultdict[str, set[int]] = defaultdict(set)
        self._partial: set[str] = set()

    def take(self, order: str, statement: Sequence[Any], policy: Sequence[Any]) -> None:
        """Remember the facts of one statement, and whether its shop allows partial orders."""
        facts = self._said[order]
        facts.add(hash(("amounts", *[statement[place] for place in _AMOUNTS])))
        facts.add(hash(("status", *statement[_STATED["status"] : _STATED["status"] + 2])))
        for line in statement[_STATED["lines"]]:
            facts.add(hash(("line", *[line[place] for place in LINE_PLACES])))
        if policy[1]:
            self._partial.add(order)

    def said(self, order: str, *fact: Any) -> bool:
        """Say whether a statement of *order* said exactly this: `amounts`, `status` or `line`, …"""
        return hash(fact) in self._said.get(order, ())

    def is_partial(self, order: str) -> bool:
        """Say whether any statement allowed *order* to be held in part."""
        return order in self._partial


class Parked:
    """One parked message, as far as it is compared."""

    __slots__ = ("key", "place", "reason", "stage", "value", "words")

    def __init__(self, fields: Sequence[Any]) -> None:
        self.stage: str = fields[_LETTER["stage"]]
        self.reason: str = fields[_LETTER["reason"]]
        self.place: str = fields[_LETTER["id"]]
        #: Stage, cause, field and reason, as they are shown.
        self.words = tuple(str(word).replace("\0", "\ufffd") for word in fields[1:5])
        self.key = hash(fields[_LETTER["key"]])
        self.value = hash(fields[_LETTER["value"]])


class Journey:
    """Follows every message from where it came in to its outcome."""

    def __init__(self, claims: Claims, unprefixed: Callable[[str], str]) -> None:
        self._claims = claims
        self._unprefixed = unprefixed
        self._raw: defaultdict[tuple[str, int], bytearray] = defaultdict(bytearray)
        #: What was set aside and in which lane (pause, partition); the lanes read to their ends.
        self._held: dict[tuple[str, int, int], tuple[bytes, int]] = {}
        self._read: set[tuple[bytes, int]] = set()
        #: Place -> what was parked there.
        self.parked: dict[str, Parked] = {}
        self.asks: dict[str, dict[int, Ask]] = {}
        self.statements = Statements()
        #: (kind, …) -> letters or statements without an outcome yet; below zero: outcomes too many.
        self._open: dict[tuple[Any, ...], int] = {}
        self._excused: Counter[tuple[Any, ...]] = Counter()
        #: Order -> cause, where its last event was `order.observed`.
        self._attached: dict[str, str] = {}

    def _owe(self, due: int, *what: Any) -> None:
        left = self._open.get(what, 0) + due
        if left:
            self._open[what] = left
        else:
            self._open.pop(what, None)

    # --- parked ----------------------------------------------------------------------------------

    def park(self, fields: Sequence[Any], place: Place) -> None:
        """Take one parked message."""
        claim, parked = self._claims["I12"], Parked(fields)
        if not parked.reason:
            claim.wrong(f"{place}: parked {parked.place}", "a reason", "none")
        if not fields[_LETTER["cause"]]:
            claim.wrong(f"{place}: parked {parked.place}", "a cause", "none")
        topic = self._unprefixed(fields[_LETTER["topic"]])
        partition, offset = fields[_LETTER["partition"]], fields[_LETTER["offset"]]
        where = f"{topic}/{partition}/{offset}"
        self._claims["I4"].same(f"{place}: id of what is parked", where, parked.place)
        known = self.parked.get(where)
        if known is not None and (known.key, known.value) != (parked.key, parked.value):
            self._claims["I4"].wrong(f"{place}: {where}", "the same bytes again", "other bytes")
        self.parked[where] = parked
        self._claims["I4"].figures[f"parked_by_{parked.stage}"] += known is None
        if fields[_LETTER["cause"]] == "bug":
            self._claims["I4"].figures["parked_as_bug"] += known is None
        if topic.startswith("raw-orders-"):
            self._mark(topic, partition, offset, _PARKED)

    def _kept_whole(self, record: Record, where: str) -> bool:
        parked = self.parked.get(where)
        if parked is None:
            return False
        if parked.value != hash(record.value or b"") or parked.key != hash(record.key):
            self._claims["I4"].wrong(f"parked {where}", "the record's own bytes", "other bytes")
        return True

    # --- from the platforms ----------------------------------------------------------------------

    def _mark(self, topic: str, partition: int, offset: int, bit: int) -> None:
        marks = self._raw[topic, partition]
        if offset >= len(marks):
            marks.extend(bytes(offset + 1 - len(marks)))
        marks[offset] |= bit

    def raw(self, record: Record, place: Place) -> None:
        """Take one raw message."""
        if self.parked:
            self._kept_whole(record, str(place))
        bits = _THERE
        probe = PROBES.get(place.topic)
        if probe is not None and record.value and probe(record.value):
            bits |= _PROBE
        self._mark(place.topic, place.partition, place.offset, bits)

    def set_aside(self, record: Record, place: Place) -> None:
        """Take one record of `raw-held`: a raw message that waits, or how far they were read."""
        said = dict(record.headers)
        lane = said["pause"], place.partition
        if "through" in said:
            if "all" in said:
                self._read.add(lane)
            return
        topic, partition, offset = said["origin"].decode().rsplit("/", 2)
        self._held[topic, int(partition), int(offset)] = lane
        self._mark(topic, int(partition), int(offset), _HELD)
        self._claims["I4"].figures["set_aside"] += 1

    def observe(self, fields: Sequence[Any], record: Record, place: Place) -> None:
        """Take one ObserveOrder: [statement, policy, source]."""
        statement, policy, source = fields[:3]
        order = ":".join(statement[:3])
        self.statements.take(order, statement, policy)
        topic, partition, offset = self._unprefixed(source[0]), source[1], source[2]
        if topic.startswith("raw-orders-"):
            self._mark(topic, partition, offset, _OBSERVED)
        self._claims["I4"].figures["statements"] += 1
        if not self._kept_whole(record, str(place)):
            self._owe(1, "statement", order, f"{source[0]}/{partition}/{offset}")

    def order_event(self, event: dict[str, Any]) -> None:
        """Take one order event: a statement's outcome is that it was observed or ignored."""
        order, cause, tag = event["order"], event["cause"], event["event"]
        if tag == "order.observed":
            self._attached[order] = cause
            self._owe(-1, "statement", order, cause)
            return
        attached = self._attached.pop(order, None)
        if tag == "order.ignored" and not (event["why"] == "illegal" and attached == cause):
            self._owe(-1, "statement", order, cause)

    # --- between the keepers ---------------------------------------------------------------------

    def hold_letter(self, fields: Sequence[Any], record: Record, place: Place) -> None:
        """Take one HoldStock: [order, sku, quantity, attempt, deadline, cause]."""
        order, sku, quantity, attempt, deadline_ms, cause = fields[:6]
        asks = self.asks.setdefault(order, {})
        ask = asks.get(attempt)
        if ask is None:
            ask = asks[attempt] = Ask(cause)
        self._claims["I4"].figures["asks"] += 1
        ask.asked += 1
        ask.wants.add(hash((sku, quantity, deadline_ms, cause)))
        if self._kept_whole(record, str(place)):
            self._excused["ask", order, sku, attempt] += 1
        else:
            self._owe(1, "ask", order, sku, attempt)

    def answer(self, fields: Sequence[Any]) -> None:
        """Take one StockAnswered: [order, sku, attempt, refusal, available, again]."""
        order, sku, attempt, refusal, available = fields[:5]
        what = ("ask", order, sku, attempt)
        if any(fields[5:6]):
            self._owe(-1, "confirm", order, sku, attempt)
            if self._open.get(what, 0) + self._excused[what] <= 0:
                return  # The first answer came after all.
        self._owe(-1, *what)
        if refusal is None:
            self._owe(1, "hold", order, sku)
        ask = self.asks.get(order, {}).get(attempt)
        if ask is None:
            return
        ask.answered += 1
        if refusal is not None:
            ask.refused.append((sku, refusal, available))

    def confirm_letter(self, fields: Sequence[Any], record: Record, place: Place) -> None:
        """Take one ConfirmHold: [order, sku, attempt, …]."""
        self._claims["I4"].figures["asked_again"] += 1
        if not self._kept_whole(record, str(place)):
            self._owe(1, "confirm", *fields[:3])

    def move_letter(self, what: Sequence[Any], record: Record, place: Place) -> None:
        """Take a letter that moves what is held, or brings it back: (verb, order, SKU, cause)."""
        self._claims["I4"].figures["stock_letters"] += 1
        if not self._kept_whole(record, str(place)):
            self._owe(1, *what)

    def stock_event(self, event: dict[str, Any]) -> None:
        """Take one stock event: a letter's outcome is a move, or that nothing moved."""
        if event["verb"] == "hold":
            self._owe(-1, "hold", event["order"], event["sku"])
            self._as_asked(event)
        elif event["verb"] in OF_HOLDS | RETURNS:
            self._owe(-1, event["verb"], event["order"], event["sku"], event["cause"])

    def _as_asked(self, event: dict[str, Any]) -> None:
        sku, quantity = event["sku"], event["quantity"]
        want = hash((sku, quantity, event.get("deadline_ms"), event["cause"]))
        asks = self.asks.get(event["order"], {})
        if not any(want in ask.wants for ask in asks.values()):
            where = f"{sku} version {event['version']}: {quantity} held by {event['order']}"
            self._claims["I4"].wrong(where, "quantity, deadline and cause as asked", "not asked so")

    def command_answered(self, event: dict[str, Any]) -> None:
        """Take the answer to an operator's command."""
        self._owe(-1, "command", event["command"])

    # --- from operators --------------------------------------------------------------------------

    def operator_command(self, fields: Sequence[Any], record: Record, place: Place) -> None:
        """Take one command on `operator-commands`: [id, …]; it goes on or is parked."""
        self._claims["I4"].figures["operator_commands"] += 1
        if not self._kept_whole(record, str(place)):
            self._owe(1, "forward", fields[0] if fields else str(place))

    def keeper_command(self, fields: Sequence[Any], record: Record, place: Place) -> None:
        """Take an operator's command in the inbox of its keeper."""
        self._claims["I4"].figures["keeper_commands"] += 1
        self._owe(-1, "forward", fields[0])
        if self._kept_whole(record, str(place)):
            self._excused["command", fields[0]] += 1
        else:
            self._owe(1, "command", fields[0])

    def unreadable(self, record: Record, place: Place) -> None:
        """Take an inbox record that is none of ours: it must be parked."""
        if not self._kept_whole(record, str(place)):
            self._claims["I4"].wrong(str(place), "parked, for it is no message of ours", "silence")

    # --- at the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Say what has no outcome, and what has too many."""
        for (topic, partition), marks in self._raw.items():
            self._close_raw(topic, partition, marks)
        for order, asks in self.asks.items():
            if max(asks) != len(asks):
                self._claims["I6"].wrong(f"{order}: attempts", [*range(1, max(asks) + 1)], [*asks])
        claim = self._claims["I4"]
        for what, left in self._open.items():
            excused = self._excused[what]
            if -excused <= left <= 0:
                continue
            if what[0] == "forward" and left < 0:
                continue  # Sent on twice by intake, or straight to the stock keeper.
            claim.figures["without_outcome"] += max(0, left)
            claim.wrong(" ".join(map(str, what)), "one outcome each", _missing(left))
        claim.figures["without_outcome"] += 0

    def _close_raw(self, topic: str, partition: int, marks: bytearray) -> None:
        claim = self._claims["I4"]
        counts = Counter(marks)
        counts.pop(0, None)
        claim.figures["raw"] += sum(n for bits, n in counts.items() if bits & _THERE)
        for bits in (_OBSERVED, _PARKED):
            counts[_THERE | bits] += counts.pop(_THERE | bits | _HELD, 0)
        claim.figures["observed"] += counts[_THERE | _OBSERVED]
        claim.figures["parked"] += counts[_THERE | _PARKED]
        claim.figures["probes"] += counts[_THERE | _PROBE]
        claim.figures["silent"] += counts[_THERE]
        claim.figures["waiting"] += counts[_THERE | _HELD]
        fine = {_THERE | _OBSERVED, _THERE | _PARKED, _THERE | _PROBE}
        fine |= {bits | _HELD for bits in fine}
        if set(counts) <= fine:
            return
        for offset, bits in enumerate(marks):
            waits = bits == _THERE | _HELD
            if waits and self._held[topic, partition, offset] not in self._read:
                continue
            if bits and bits not in fine:
                found = [word for bit, word in _WORDS if bits & bit] or ["silence"]
                expected = "observed or parked" if bits & _THERE else "a raw message at this place"
                claim.wrong(f"{topic}/{partition}/{offset}", expected, " and ".join(found))


_WORDS = (
    (_HELD, "set aside, and its pause is over"),
    (_OBSERVED, "observed"),
    (_PARKED, "parked"),
    (_PROBE, "a probe"),
)


def _missing(left: int) -> str:
    return f"{left} without an outcome" if left > 0 else f"{-left} outcomes too many"
