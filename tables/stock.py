"""
The stock of each SKU: five buckets, and each hold a record of its own.

Rules for this file: everything that changes stock stands here. `MOVES` is the whole machine; the
code below handles what a table cannot say (is there enough, was this asked before).

Theory of operation. All commands of one SKU meet one keeper, one after the other, so "is there
enough" and "take it" are one step. Units never appear or vanish on the way: a move takes from one
bucket and gives to another, and only `receive`, `ship` and `adjust` touch the world outside, so

    on_hand = available + locked + occupied + reserved + frozen,  each >= 0

after every command. A hold is kept beside the balance under (SKU, order), with the bucket it
stands in and the bucket it came from: a command on a SKU with 10,000 holds touches two small
records. A hold ends exactly once: shipped, released or expired.

The order keeper's letters are numbered, so none arrives twice. An operator's command carries a
UUIDv7; the row remembers the ids and answers of the last 24 hours, refused ones too.
"""

from hashlib import blake2b
from typing import Any, NamedTuple

from msgspec import Struct, msgpack

from schemas.base import QUANTITY_MAX
from schemas.errors import MalformedPayload, Refusal
from schemas.orders import StockAnswered
from schemas.stock import (
    AdjustStock,
    Bucket,
    FreezeStock,
    HoldStock,
    OccupyStock,
    OperatorStockCommand,
    ReceiveStock,
    ReleaseIgnored,
    ReleaseStock,
    ShipStock,
    StockCommand,
    StockCommandAnswered,
    StockMoved,
    UnfreezeStock,
    Verb,
)
from tables.spec import Decision, Rows, Rule, Table

#: How long an operator's command id is remembered; an older one is refused as too old.
REMEMBER_MS = 24 * 60 * 60 * 1000
#: How many ids one SKU remembers; beyond it commands are refused until the oldest have aged.
ANSWERS_MAX = 2_000
#: Hex digits of a UUID.
UUID_DIGITS = 32
#: The greatest balance of one bucket.
BUCKET_MAX = 1_000 * QUANTITY_MAX


class Stock(Struct, frozen=True, array_like=True, tag="S", gc=False):
    """The balance of one SKU."""

    available: int = 0
    locked: int = 0
    occupied: int = 0
    reserved: int = 0
    frozen: int = 0
    #: Rises by one with every move.
    version: int = 0

    @property
    def on_hand(self) -> int:
        """What stands in the warehouse."""
        return self.available + self.locked + self.occupied + self.reserved + self.frozen


class Hold(Struct, frozen=True, array_like=True, tag="H", gc=False):
    """What one order holds of one SKU."""

    quantity: int
    #: Where the units stand now.
    bucket: Bucket
    #: Where they came from, and go back to.
    origin: Bucket
    deadline_ms: int | None


class Answer(Struct, frozen=True, array_like=True, gc=False):
    """What an operator's command was told."""

    id: str
    digest: bytes
    refusal: Refusal | None
    available: int


class Answers(Struct, frozen=True, array_like=True, tag="A", gc=False):
    """The operators' commands of the last 24 hours, oldest first."""

    answers: tuple[Answer, ...] = ()


class Relative(NamedTuple):
    """A place that depends on the hold."""

    name: str


#: The bucket the hold stands in, and the one it came from.
HELD = Relative("held")
ORIGIN = Relative("origin")


class Move(NamedTuple):
    """From where to where; None is the world outside."""

    source: Bucket | Relative | None
    target: Bucket | Relative | None


MOVES: dict[Verb, Move] = {
    Verb.RECEIVE: Move(None, Bucket.AVAILABLE),
    Verb.ADJUST_UP: Move(None, Bucket.AVAILABLE),
    Verb.ADJUST_DOWN: Move(Bucket.AVAILABLE, None),
    Verb.HOLD: Move(Bucket.AVAILABLE, Bucket.LOCKED),
    Verb.OCCUPY: Move(HELD, Bucket.OCCUPIED),
    Verb.RELEASE: Move(HELD, ORIGIN),
    Verb.EXPIRE: Move(HELD, ORIGIN),
    Verb.SHIP: Move(HELD, None),
    Verb.FREEZE: Move(Bucket.AVAILABLE, Bucket.FROZEN),
    Verb.UNFREEZE: Move(Bucket.FROZEN, Bucket.AVAILABLE),
}

#: Which bucket a hold must stand in for a verb; elsewhere the verb is refused as NOT_HELD.
STANDS_IN: dict[Verb, frozenset[Bucket]] = {
    Verb.OCCUPY: frozenset({Bucket.LOCKED}),
    Verb.RELEASE: frozenset({Bucket.LOCKED, Bucket.OCCUPIED}),
    Verb.EXPIRE: frozenset({Bucket.LOCKED}),
    Verb.SHIP: frozenset({Bucket.OCCUPIED}),
}

_PLACE = {bucket: place for place, bucket in enumerate(Bucket)}
# An enum's member is looked up by Python code; the hot path has these at hand.
_AVAILABLE, _LOCKED, _HOLD = Bucket.AVAILABLE, Bucket.LOCKED, Verb.HOLD
NOTHING = Stock()
_SEPARATOR = b"\0"


def stock_key(sku: str) -> bytes:
    """Return the key of a SKU's balance, also its key on the topics."""
    return sku.encode()


def hold_key(sku: str, order: str) -> bytes:
    """Return the key of what *order* holds of *sku*."""
    return sku.encode() + _SEPARATOR + order.encode()


def answers_key(sku: str) -> bytes:
    """Return the key of the answers given to operators about *sku*."""
    return sku.encode() + _SEPARATOR


def decide(rows: Rows, command: StockCommand, at_ms: int) -> Decision:
    """Return what *command* changes and what is said, given the rows of its SKU."""
    rule: Rule = DECIDE[type(command)]
    return rule(rows, command, at_ms)


def moved(stock: Stock, source: Bucket | None, target: Bucket | None, quantity: int) -> Stock:
    """Return the balance after *quantity* units went from *source* to *target*."""
    amounts = [stock.available, stock.locked, stock.occupied, stock.reserved, stock.frozen]
    if target is not None:
        amounts[_PLACE[target]] += quantity
    if source is not None:
        place = _PLACE[source]
        amounts[place] -= quantity
        if amounts[place] < 0:
            msg = f"a move of {quantity} from {source} to {target} would leave {amounts}"
            raise AssertionError(msg)
    if quantity <= 0:
        msg = f"a move of {quantity} from {source} to {target}"
        raise AssertionError(msg)
    available, locked, occupied, reserved, frozen = amounts
    return Stock(available, locked, occupied, reserved, frozen, stock.version + 1)


# --- the order keeper's letters -------------------------------------------------------------------


def _hold(rows: Rows, command: HoldStock, at_ms: int) -> Decision:
    sku, order, quantity = command.sku, command.order, command.quantity
    key, held_under = stock_key(sku), hold_key(sku, order)
    stock: Stock | None = rows.get(key)
    if stock is None:
        return _no(command, Refusal.UNKNOWN_SKU, 0)
    if quantity > stock.available:
        return _no(command, Refusal.NOT_ENOUGH, stock.available)
    if rows.get(held_under) is not None:
        msg = f"{order} holds {sku} already"
        raise AssertionError(msg)
    # After this point the hold must succeed.
    after = moved(stock, _AVAILABLE, _LOCKED, quantity)
    hold = Hold(quantity, _LOCKED, _AVAILABLE, command.deadline_ms)
    event = _event(command, _HOLD, _AVAILABLE, _LOCKED, quantity, after, at_ms)
    yes = StockAnswered(order=order, sku=sku, attempt=command.attempt)
    return {key: after, held_under: hold}, [event, yes]


def _no(command: HoldStock, refusal: Refusal, available: int) -> Decision:
    answer = StockAnswered(
        order=command.order,
        sku=command.sku,
        attempt=command.attempt,
        refusal=refusal,
        available=available,
    )
    return {}, [answer]


def _occupy(rows: Rows, command: OccupyStock, at_ms: int) -> Decision:
    return _end(rows, command, Verb.OCCUPY, at_ms)


def _release(rows: Rows, command: ReleaseStock, at_ms: int) -> Decision:
    return _end(rows, command, command.verb, at_ms)


def _ship(rows: Rows, command: ShipStock, at_ms: int) -> Decision:
    return _end(rows, command, Verb.SHIP, at_ms)


def _end(
    rows: Rows, command: OccupyStock | ReleaseStock | ShipStock, verb: Verb, at_ms: int
) -> Decision:
    """Move a live hold on, or out; without one nothing moves and it is recorded (T13)."""
    sku, order = command.sku, command.order
    key, held_under = stock_key(sku), hold_key(sku, order)
    hold: Hold | None = rows.get(held_under)
    if hold is None or hold.bucket not in STANDS_IN[verb]:
        ignored = ReleaseIgnored(
            sku=sku,
            at_ms=at_ms,
            cause=command.cause,
            order=order,
            verb=verb,
            refusal=Refusal.NOT_HELD,
        )
        return {}, [ignored]
    # After this point the move must succeed: a release never fails on quantities (T27).
    target = _place(MOVES[verb].target, hold)
    after = moved(rows.get(key), hold.bucket, target, hold.quantity)
    still = Hold(hold.quantity, Bucket.OCCUPIED, hold.origin, None) if verb is Verb.OCCUPY else None
    event = _event(command, verb, hold.bucket, target, hold.quantity, after, at_ms)
    return {key: after, held_under: still}, [event]


def _place(place: Bucket | Relative | None, hold: Hold | None = None) -> Bucket | None:
    """Return the bucket a move's end stands for, given the hold it is about."""
    if not isinstance(place, Relative):
        return place
    if hold is None:
        msg = f"a move to {place} needs a hold"
        raise AssertionError(msg)
    return hold.bucket if place is HELD else hold.origin


def _event(
    command: HoldStock | OccupyStock | ReleaseStock | ShipStock,
    verb: Verb,
    source: Bucket | None,
    target: Bucket | None,
    quantity: int,
    after: Stock,
    at_ms: int,
) -> StockMoved:
    return StockMoved(
        sku=command.sku,
        at_ms=at_ms,
        cause=command.cause,
        version=after.version,
        verb=verb,
        quantity=quantity,
        source=source,
        target=target,
        available=after.available,
        locked=after.locked,
        occupied=after.occupied,
        reserved=after.reserved,
        frozen=after.frozen,
        order=command.order,
        deadline_ms=command.deadline_ms if isinstance(command, HoldStock) else None,
    )


# --- operators' commands --------------------------------------------------------------------------


def _operate(rows: Rows, command: OperatorStockCommand, at_ms: int) -> Decision:
    """Answer an operator once: the same id gets the same answer, yes or no."""
    asked_ms = asked_at(command.id, at_ms)
    kept = _remembered(rows, command.sku, at_ms)
    digest = blake2b(msgpack.encode(command), digest_size=8).digest()
    before = next((answer for answer in kept if answer.id == command.id), None)
    if before is not None:
        refusal = before.refusal if before.digest == digest else Refusal.ID_REUSED
        return {}, [_answered(command, refusal, before.available, at_ms)]
    if asked_ms < at_ms - REMEMBER_MS:
        return {}, [_answered(command, Refusal.TOO_OLD, 0, at_ms)]
    if len(kept) >= ANSWERS_MAX:
        return {}, [_answered(command, Refusal.TOO_LARGE, 0, at_ms)]
    key = stock_key(command.sku)
    stock: Stock | None = rows.get(key)
    verb, quantity = _verb_of(command)
    refusal = _refused(stock, verb, quantity)
    changes: dict[bytes, Any] = {}
    said: list[Struct] = []
    after = stock or NOTHING
    if refusal is None:
        source, target = _place(MOVES[verb].source), _place(MOVES[verb].target)
        after = moved(after, source, target, quantity)
        changes[key] = after
        said.append(_operated(command, verb, quantity, after, at_ms))
    answer = Answer(command.id, digest, refusal, after.available)
    changes[answers_key(command.sku)] = Answers((*kept, answer))
    return changes, [*said, _answered(command, refusal, after.available, at_ms)]


def asked_at(command_id: str, at_ms: int) -> int:
    """
    Return the time in a command's id, ms: the first 48 bits of a UUIDv7 (RFC 9562, 5.7).

    Raises MalformedPayload when it is no UUIDv7, or lies a day or more after *at_ms*.
    """
    digits = command_id.replace("-", "")
    try:
        asked_ms = int(digits[:12], 16)
        good = len(digits) == UUID_DIGITS and digits[12] == "7"
    except ValueError:
        good = False
        asked_ms = 0
    if not good:
        raise MalformedPayload("id", f"{command_id!r} is not a UUIDv7")
    if asked_ms > at_ms + REMEMBER_MS:
        raise MalformedPayload("id", f"{command_id} carries a time more than a day ahead")
    return asked_ms


def _remembered(rows: Rows, sku: str, at_ms: int) -> list[Answer]:
    row: Answers | None = rows.get(answers_key(sku))
    if row is None:
        return []
    horizon = at_ms - REMEMBER_MS
    return [answer for answer in row.answers if asked_at(answer.id, at_ms) >= horizon]


def _verb_of(command: OperatorStockCommand) -> tuple[Verb, int]:
    match command:
        case ReceiveStock():
            return Verb.RECEIVE, command.quantity
        case FreezeStock():
            return Verb.FREEZE, command.quantity
        case UnfreezeStock():
            return Verb.UNFREEZE, command.quantity
        case AdjustStock(delta=delta):
            if delta == 0 or abs(delta) > QUANTITY_MAX:
                raise MalformedPayload("delta", f"{delta} is not within 1 to {QUANTITY_MAX}")
            return (Verb.ADJUST_UP if delta > 0 else Verb.ADJUST_DOWN), abs(delta)


def _refused(stock: Stock | None, verb: Verb, quantity: int) -> Refusal | None:
    source = MOVES[verb].source
    if stock is None:
        return None if verb in (Verb.RECEIVE, Verb.ADJUST_UP) else Refusal.UNKNOWN_SKU
    if source is Bucket.AVAILABLE and quantity > stock.available:
        return Refusal.NOT_ENOUGH
    if source is Bucket.FROZEN and quantity > stock.frozen:
        return Refusal.NOT_ENOUGH
    if source is None and stock.on_hand + quantity > BUCKET_MAX:
        return Refusal.TOO_LARGE
    return None


def _operated(
    command: OperatorStockCommand, verb: Verb, quantity: int, after: Stock, at_ms: int
) -> StockMoved:
    return StockMoved(
        sku=command.sku,
        at_ms=at_ms,
        cause=command.id,
        version=after.version,
        verb=verb,
        quantity=quantity,
        source=_place(MOVES[verb].source),
        target=_place(MOVES[verb].target),
        available=after.available,
        locked=after.locked,
        occupied=after.occupied,
        reserved=after.reserved,
        frozen=after.frozen,
        command=command.id,
        operator=command.operator,
        reason=command.reason,
    )


def _answered(
    command: OperatorStockCommand, refusal: Refusal | None, available: int, at_ms: int
) -> StockCommandAnswered:
    return StockCommandAnswered(
        sku=command.sku,
        at_ms=at_ms,
        cause=command.id,
        command=command.id,
        refusal=refusal,
        available=available,
    )


def answer_failed(command: StockCommand, at_ms: int) -> list[Struct]:
    """Return the answer to a command whose deciding failed, so that nobody waits for ever."""
    match command:
        case HoldStock():
            return _no(command, Refusal.BUG, 0)[1]
        case ReceiveStock() | AdjustStock() | FreezeStock() | UnfreezeStock():
            return [_answered(command, Refusal.BUG, 0, at_ms)]
        case _:
            return []


DECIDE: dict[type, Rule] = {
    HoldStock: _hold,
    OccupyStock: _occupy,
    ReleaseStock: _release,
    ShipStock: _ship,
    ReceiveStock: _operate,
    AdjustStock: _operate,
    FreezeStock: _operate,
    UnfreezeStock: _operate,
}

TABLE = Table(
    name="stock",
    number=2,
    decode_command=msgpack.Decoder(StockCommand).decode,
    decode_row=msgpack.Decoder(Stock | Hold | Answers).decode,
    encode_row=msgpack.Encoder().encode,
    decide=decide,
    answer_failed=answer_failed,
    # A hold beside its balance: a key, two numbers, two words and a deadline.
    growth_bytes=256,
)
