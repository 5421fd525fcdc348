"""
The stock of each SKU: its buckets, each hold and each quota a record of its own.

Rules for this file: everything that changes stock stands here. `MOVES` is the whole machine; the
code below handles what a table cannot say (is there enough, was this asked before).

Theory of operation. All commands of one SKU meet one keeper, one after the other, so "is there
enough" and "take it" are one step. Units never appear or vanish on the way: a move takes from one
bucket and gives to another, and only receive, return, ship, adjust and a stocktake touch the world
outside, so

    on_hand + shortfall = available + locked + occupied + reserved + frozen,  each >= 0
    available = 0 while shortfall > 0

after every command. The shortfall is a bucket that counts down: a stocktake that finds less than
is held takes the difference from it, and whatever becomes available covers it first.

A hold is kept beside the balance under (SKU, order), with the bucket it stands in and the bucket it
came from: a command on a SKU with 10,000 holds touches two small records. A hold may grow and may
leave in parts; it ends exactly once: shipped, released or expired.

A quota is units in `reserved` for one campaign or channel while its window is open. A hold that
names it draws from it first, and what it gives back is restored to it; so every hold and release
is one move between available and locked, with or without a quota.

The order keeper's letters are numbered, so none arrives twice. An operator's command carries a
UUIDv7; the row remembers the ids and answers of the last 24 hours, refused ones too.
"""

from typing import Any, NamedTuple

from msgspec import Struct, msgpack, structs

from schemas.base import QUANTITY_MAX, is_misspelt
from schemas.errors import MalformedPayload, Refusal
from schemas.orders import Disposition, StockAnswered
from schemas.stock import (
    AdjustStock,
    AllotStock,
    Bucket,
    ConfirmHold,
    CountStock,
    EndQuota,
    FreezeStock,
    GiveBackStock,
    HoldStock,
    OccupyStock,
    OperatorStockCommand,
    QuotaChanged,
    ReceiveStock,
    RefuseStock,
    ReleaseIgnored,
    ReleaseStock,
    ReturnStock,
    ShipStock,
    ShortfallChanged,
    StockCommand,
    StockCommandAnswered,
    StockMoved,
    UnfreezeStock,
    Verb,
)
from tables.answers import Answer, digest_of, refused_unheard, remembered, told_before
from tables.spec import Decision, Rows, Rule, Table

#: How many ids one SKU remembers; beyond it commands are refused until the oldest have aged.
ANSWERS_MAX = 2_000
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
    #: Held and not there.
    shortfall: int = 0

    @property
    def on_hand(self) -> int:
        """What stands in the warehouse."""
        return (
            self.available
            + self.locked
            + self.occupied
            + self.reserved
            + self.frozen
            - self.shortfall
        )


class Hold(Struct, frozen=True, array_like=True, tag="H", gc=False):
    """What one order holds of one SKU."""

    quantity: int
    #: Where the units stand now.
    bucket: Bucket
    #: Where they came from, and go back to.
    origin: Bucket
    deadline_ms: int | None
    #: The quota some of them were drawn from (empty: none), and how many.
    quota: str = ""
    drawn: int = 0


class Quota(Struct, frozen=True, array_like=True, tag="Q", gc=False):
    """What one campaign or channel has of one SKU, in `reserved`, while its window is open."""

    sku: str
    name: str
    starts_ms: int
    ends_ms: int
    #: Ever allotted, less what was given back by hand.
    allotted: int
    left: int
    #: The command that allotted it last.
    cause: str


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
    Verb.HOLD: Move(Bucket.AVAILABLE, HELD),
    Verb.OCCUPY: Move(HELD, Bucket.OCCUPIED),
    Verb.RELEASE: Move(HELD, ORIGIN),
    Verb.EXPIRE: Move(HELD, ORIGIN),
    Verb.SHIP: Move(HELD, None),
    Verb.FREEZE: Move(Bucket.AVAILABLE, Bucket.FROZEN),
    Verb.UNFREEZE: Move(Bucket.FROZEN, Bucket.AVAILABLE),
    Verb.COUNT_UP: Move(None, Bucket.AVAILABLE),
    Verb.COUNT_DOWN: Move(Bucket.AVAILABLE, None),
    Verb.COUNT_SHORT: Move(Bucket.SHORTFALL, None),
    Verb.COVER: Move(Bucket.AVAILABLE, Bucket.SHORTFALL),
    Verb.FOUND: Move(None, Bucket.SHORTFALL),
    Verb.RETURN: Move(None, Bucket.AVAILABLE),
    Verb.RETURN_FROZEN: Move(None, Bucket.FROZEN),
    Verb.ALLOT: Move(Bucket.AVAILABLE, Bucket.RESERVED),
    Verb.GIVE_BACK: Move(Bucket.RESERVED, Bucket.AVAILABLE),
    Verb.DRAW: Move(Bucket.RESERVED, Bucket.AVAILABLE),
    Verb.RESTORE: Move(Bucket.AVAILABLE, Bucket.RESERVED),
}

#: Which bucket a hold must stand in for a verb; elsewhere the verb is refused as NOT_HELD.
STANDS_IN: dict[Verb, frozenset[Bucket]] = {
    #: A new hold is locked; one that grows does so where it stands.
    Verb.HOLD: frozenset({Bucket.LOCKED, Bucket.OCCUPIED}),
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
#: Stands in the keys of quotas and of no other row.
QUOTA_MARK = b"\0\0"


def stock_key(sku: str) -> bytes:
    """Return the key of a SKU's balance, also its key on the topics."""
    return sku.encode()


def hold_key(sku: str, order: str) -> bytes:
    """Return the key of what *order* holds of *sku*."""
    return sku.encode() + _SEPARATOR + order.encode()


def answers_key(sku: str) -> bytes:
    """Return the key of the answers given to operators about *sku*."""
    return sku.encode() + _SEPARATOR


def quota_key(sku: str, quota: str) -> bytes:
    """Return the key of a quota of *sku*: no order's key begins with a separator."""
    return sku.encode() + QUOTA_MARK + quota.encode()


def decide(rows: Rows, command: StockCommand, at_ms: int) -> Decision:
    """Return what *command* changes and what is said, given the rows of its SKU."""
    rule: Rule = DECIDE[type(command)]
    return rule(rows, command, at_ms)


def moved(stock: Stock, source: Bucket | None, target: Bucket | None, quantity: int) -> Stock:
    """Return the balance after *quantity* units went from *source* to *target*."""
    amounts = [
        stock.available,
        stock.locked,
        stock.occupied,
        stock.reserved,
        stock.frozen,
        -stock.shortfall,
    ]
    if target is not None:
        amounts[_PLACE[target]] += quantity
    if source is not None:
        amounts[_PLACE[source]] -= quantity
    available, locked, occupied, reserved, frozen, short = amounts
    if quantity <= 0 or min(available, locked, occupied, reserved, frozen, -short) < 0:
        msg = f"a move of {quantity} from {source} to {target} would leave {amounts}"
        raise AssertionError(msg)
    return Stock(available, locked, occupied, reserved, frozen, stock.version + 1, -short)


class _Trail:
    """The moves of one command on one SKU, one after the other, and what is told of them."""

    __slots__ = ("_about", "_at_ms", "_before", "_cause", "_sku", "said", "stock")

    def __init__(self, sku: str, stock: Stock, cause: str, at_ms: int, **about: Any) -> None:
        self.stock = stock
        self.said: list[Struct] = []
        self._sku, self._cause, self._at_ms = sku, cause, at_ms
        self._before = stock.shortfall
        #: Order, or command, operator and reason.
        self._about = about

    def move(
        self,
        verb: Verb,
        quantity: int,
        hold: Hold | None = None,
        *,
        held: int | None = None,
        quota: str | None = None,
    ) -> None:
        """Move units as `MOVES` says; of a *hold* that goes on with *held* units, say so."""
        source, target = _place(MOVES[verb].source, hold), _place(MOVES[verb].target, hold)
        after = self.stock = moved(self.stock, source, target, quantity)
        self.said.append(
            StockMoved(
                sku=self._sku,
                at_ms=self._at_ms,
                cause=self._cause,
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
                shortfall=after.shortfall,
                deadline_ms=hold.deadline_ms if held is not None and hold else None,
                held=held,
                quota=quota,
                **self._about,
            )
        )

    def cover(self) -> None:
        """Let what is available make up for what is missing."""
        if self.stock.shortfall and self.stock.available:
            self.move(Verb.COVER, min(self.stock.shortfall, self.stock.available))

    def close(self) -> None:
        """Cover, and tell a shortfall that is not what it was."""
        self.cover()
        after = self.stock
        if after.shortfall != self._before:
            self.said.append(
                ShortfallChanged(
                    sku=self._sku,
                    at_ms=self._at_ms,
                    cause=self._cause,
                    version=after.version,
                    before=self._before,
                    shortfall=after.shortfall,
                    held=after.locked + after.occupied,
                )
            )

    def quota(self, row: Quota, *, ended: bool = False) -> None:
        """Tell what a quota has left."""
        self.said.append(
            QuotaChanged(
                sku=self._sku,
                at_ms=self._at_ms,
                cause=self._cause,
                version=self.stock.version,
                quota=row.name,
                starts_ms=row.starts_ms,
                ends_ms=row.ends_ms,
                allotted=row.allotted,
                left=row.left,
                ended=ended,
            )
        )


# --- the order keeper's letters -------------------------------------------------------------------


def _hold(rows: Rows, command: HoldStock, at_ms: int) -> Decision:
    sku, order, quantity = command.sku, command.order, command.quantity
    key, held_under = stock_key(sku), hold_key(sku, order)
    stock: Stock | None = rows.get(key)
    if stock is None:
        return _no(command, Refusal.UNKNOWN_SKU, 0)
    if command.quota or command.grow:
        return _hold_more(rows, command, stock, at_ms)
    available = stock.available
    if quantity > available:
        return _no(command, Refusal.NOT_ENOUGH, available)
    if rows.get(held_under) is not None:
        msg = f"{order} holds {sku} already"
        raise AssertionError(msg)
    # After this point the hold must succeed. `moved` and `_Trail` in one, for it is the hot path.
    available -= quantity
    locked = stock.locked + quantity
    version, occupied, reserved, frozen = (
        stock.version + 1, stock.occupied, stock.reserved, stock.frozen,
    )  # fmt: skip
    after = Stock(available, locked, occupied, reserved, frozen, version)
    hold = Hold(quantity, _LOCKED, _AVAILABLE, command.deadline_ms)
    event = StockMoved(
        sku=sku,
        at_ms=at_ms,
        cause=command.cause,
        version=version,
        verb=_HOLD,
        quantity=quantity,
        source=_AVAILABLE,
        target=_LOCKED,
        available=available,
        locked=locked,
        occupied=occupied,
        reserved=reserved,
        frozen=frozen,
        order=order,
        deadline_ms=command.deadline_ms,
    )
    yes = StockAnswered(order=order, sku=sku, attempt=command.attempt)
    return {key: after, held_under: hold}, [event, yes]


def _hold_more(rows: Rows, command: HoldStock, stock: Stock, at_ms: int) -> Decision:
    """Hold for an order that names a quota, or that holds some already."""
    sku, quantity = command.sku, command.quantity
    held_under = hold_key(sku, command.order)
    before: Hold | None = rows.get(held_under)
    if (before is not None) != command.grow:
        msg = f"{command.order} holds {before} of {sku}, and asks as if it did not"
        raise AssertionError(msg)
    name = before.quota if before is not None and before.drawn else command.quota
    quota = _open_quota(rows, sku, name, at_ms)
    # Nothing is held while more is held than is there: not from a quota either.
    left = quota.left if quota is not None and not stock.shortfall else 0
    drawn = min(quantity, left)
    if quantity - drawn > stock.available:
        return _no(command, Refusal.NOT_ENOUGH, stock.available + left)
    # After this point the hold must succeed.
    trail = _Trail(sku, stock, command.cause, at_ms, order=command.order)
    changes: dict[bytes, Any] = {}
    if before is None:
        before = Hold(0, _LOCKED, _AVAILABLE, command.deadline_ms)
    hold = structs.replace(
        _resized(before, before.quantity + quantity, before.drawn + drawn, name),
        deadline_ms=command.deadline_ms,
    )
    if drawn and quota is not None:
        trail.move(Verb.DRAW, drawn, quota=quota.name)
    trail.move(Verb.HOLD, quantity, hold, held=hold.quantity)
    if drawn and quota is not None:
        changes[quota_key(sku, quota.name)] = quota = _with_left(quota, quota.left - drawn)
        trail.quota(quota)
    yes = StockAnswered(order=command.order, sku=sku, attempt=command.attempt)
    return {**changes, stock_key(sku): trail.stock, held_under: hold}, [*trail.said, yes]


def _no(command: HoldStock | ConfirmHold, refusal: Refusal, available: int) -> Decision:
    answer = StockAnswered(
        order=command.order,
        sku=command.sku,
        attempt=command.attempt,
        refusal=refusal,
        available=available,
        again=isinstance(command, ConfirmHold),
    )
    return {}, [answer]


def _confirm(rows: Rows, command: ConfirmHold, at_ms: int) -> Decision:  # noqa: ARG001  every rule has this shape
    """Say what became of a HoldStock; what is not held now was parked."""
    hold: Hold | None = rows.get(hold_key(command.sku, command.order))
    if hold is None or hold.quantity != command.quantity:
        return _no(command, Refusal.BUG, 0)
    yes = StockAnswered(order=command.order, sku=command.sku, attempt=command.attempt, again=True)
    return {}, [yes]


def _occupy(rows: Rows, command: OccupyStock, at_ms: int) -> Decision:
    return _end(rows, command, Verb.OCCUPY, None, at_ms)


def _release(rows: Rows, command: ReleaseStock, at_ms: int) -> Decision:
    return _end(rows, command, command.verb, command.quantity, at_ms)


def _ship(rows: Rows, command: ShipStock, at_ms: int) -> Decision:
    return _end(rows, command, Verb.SHIP, command.quantity, at_ms)


def _end(
    rows: Rows,
    command: OccupyStock | ReleaseStock | ShipStock,
    verb: Verb,
    quantity: int | None,
    at_ms: int,
) -> Decision:
    """Move a live hold on, or out; without one nothing moves and it is recorded (T13)."""
    sku, order = command.sku, command.order
    key, held_under = stock_key(sku), hold_key(sku, order)
    hold: Hold | None = rows.get(held_under)
    if (
        hold is None
        or hold.bucket not in STANDS_IN[verb]
        or (quantity is not None and quantity > hold.quantity)
    ):
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
    trail = _Trail(sku, rows.get(key), command.cause, at_ms, order=order)
    quantity = hold.quantity if quantity is None else quantity
    rest = hold.quantity - quantity
    trail.move(verb, quantity, hold, held=rest or None)
    still: Hold | None
    changes: dict[bytes, Any] = {}
    if verb is Verb.OCCUPY:
        still = Hold(hold.quantity, Bucket.OCCUPIED, hold.origin, None, hold.quota, hold.drawn)
    else:
        drawn = min(hold.drawn, rest)
        still = _resized(hold, rest, drawn, hold.quota) if rest else None
        if verb is Verb.SHIP:
            _find(trail)
        elif hold.drawn > drawn:
            changes = _restore(rows, trail, sku, hold.quota, hold.drawn - drawn, at_ms)
    trail.close()
    return {**changes, key: trail.stock, held_under: still}, trail.said


def _resized(hold: Hold, quantity: int, drawn: int, quota: str) -> Hold:
    return Hold(quantity, hold.bucket, hold.origin, hold.deadline_ms, quota if drawn else "", drawn)


def _find(trail: _Trail) -> None:
    """More was shipped than a stocktake had left: the units were there, and the count was wrong."""
    if trail.stock.on_hand < 0:
        trail.move(Verb.FOUND, -trail.stock.on_hand)


def _returned(rows: Rows, command: ReturnStock, at_ms: int) -> Decision:
    """Goods of an order came back; that they were shipped is the order keeper's to know."""
    key = stock_key(command.sku)
    trail = _Trail(
        command.sku,
        rows.get(key) or NOTHING,
        command.cause,
        at_ms,
        order=command.order,
        command=command.command,
        operator=command.operator,
        reason=command.reason,
    )
    sellable = command.disposition is Disposition.SELLABLE
    trail.move(Verb.RETURN if sellable else Verb.RETURN_FROZEN, command.quantity)
    trail.close()
    return {key: trail.stock}, trail.said


def _place(place: Bucket | Relative | None, hold: Hold | None = None) -> Bucket | None:
    """Return the bucket a move's end stands for, given the hold it is about."""
    if not isinstance(place, Relative):
        return place
    if hold is None:
        msg = f"a move to {place} needs a hold"
        raise AssertionError(msg)
    return hold.bucket if place is HELD else hold.origin


# --- quotas ---------------------------------------------------------------------------------------


def _open_quota(rows: Rows, sku: str, name: str, at_ms: int) -> Quota | None:
    """Return the quota, if there is one and its window is open by the log's clock."""
    row: Quota | None = rows.get(quota_key(sku, name)) if name else None
    return row if row is not None and row.starts_ms <= at_ms < row.ends_ms else None


def _with_left(row: Quota, left: int) -> Quota:
    return Quota(row.sku, row.name, row.starts_ms, row.ends_ms, row.allotted, left, row.cause)


def _restore(
    rows: Rows, trail: _Trail, sku: str, name: str, quantity: int, at_ms: int
) -> dict[bytes, Any]:
    """Give back to a quota what was drawn from it, while its window is open."""
    trail.cover()
    row = _open_quota(rows, sku, name, at_ms)
    back = min(quantity, trail.stock.available)
    if row is None or not back:
        return {}
    trail.move(Verb.RESTORE, back, quota=name)
    row = _with_left(row, row.left + back)
    trail.quota(row)
    return {quota_key(sku, name): row}


def _end_quota(rows: Rows, command: EndQuota, at_ms: int) -> Decision:
    """The log's clock decides: before its end, or under another end, nothing happens."""
    sku, key = command.sku, quota_key(command.sku, command.quota)
    row: Quota | None = rows.get(key)
    if row is None or row.ends_ms != command.ends_ms or at_ms < row.ends_ms:
        return {}, []
    trail = _Trail(sku, rows.get(stock_key(sku)), row.cause, at_ms)
    if row.left:
        trail.move(Verb.GIVE_BACK, row.left, quota=row.name)
    trail.close()
    trail.quota(_with_left(row, 0), ended=True)
    return {stock_key(sku): trail.stock, key: None}, trail.said


def deadline_ms(row: Any) -> int | None:
    """Return when a quota's window ends; nothing else here has a deadline of its own."""
    return row.ends_ms if type(row) is Quota else None


def wake(row: Quota) -> EndQuota:
    """Return what the sweeper sends once the window is over."""
    return EndQuota(sku=row.sku, quota=row.name, ends_ms=row.ends_ms)


# --- operators' commands --------------------------------------------------------------------------


def _operate(rows: Rows, command: OperatorStockCommand | RefuseStock, at_ms: int) -> Decision:
    """Answer an operator once: the same id gets the same answer, yes or no."""
    row: Answers | None = rows.get(answers_key(command.sku))
    kept = remembered(row.answers, at_ms) if row is not None else []
    digest = digest_of(command)
    before = told_before(kept, command.id, digest)
    if before is not None:
        return {}, [_answered(command, before.refusal, before.available, at_ms)]
    unheard = refused_unheard(kept, command.id, at_ms, ANSWERS_MAX)
    if unheard is not None:
        return {}, [_answered(command, unheard, 0, at_ms)]
    sku, key = command.sku, stock_key(command.sku)
    stock: Stock | None = rows.get(key)
    refusal, changes, said = None, {}, []
    if isinstance(command, RefuseStock):
        refusal = command.refusal
    else:
        refusal = _refused(rows, stock, command, at_ms)
        if refusal is None:
            trail = _Trail(
                sku,
                stock or NOTHING,
                command.id,
                at_ms,
                command=command.id,
                operator=command.operator,
                reason=command.reason,
            )
            changes = _booked(rows, trail, command)
            trail.close()
            said, stock = trail.said, trail.stock
            changes[key] = stock
    available = stock.available if stock is not None else 0
    answer = Answer(command.id, digest, refusal, available)
    changes[answers_key(sku)] = Answers((*kept, answer))
    return changes, [*said, _answered(command, refusal, available, at_ms)]


#: Commands that move their quantity by one verb.
_VERBS: dict[type, Verb] = {
    ReceiveStock: Verb.RECEIVE,
    FreezeStock: Verb.FREEZE,
    UnfreezeStock: Verb.UNFREEZE,
    AllotStock: Verb.ALLOT,
    GiveBackStock: Verb.GIVE_BACK,
}
#: Verbs that bring a SKU into being.
_FOUNDS = frozenset({Verb.RECEIVE, Verb.ADJUST_UP, Verb.COUNT_UP})


def _verb_of(command: OperatorStockCommand, stock: Stock) -> tuple[Verb, int]:
    """Return what a command does and to how many; 0 is a stocktake that found what it expected."""
    match command:
        case AdjustStock(delta=delta):
            if delta == 0 or abs(delta) > QUANTITY_MAX:
                raise MalformedPayload("delta", f"{delta} is not within 1 to {QUANTITY_MAX}")
            return (Verb.ADJUST_UP if delta > 0 else Verb.ADJUST_DOWN), abs(delta)
        case CountStock():
            found = command.counted - (stock.on_hand if command.book is None else command.book)
            return (Verb.COUNT_UP if found >= 0 else Verb.COUNT_DOWN), abs(found)
        case _:
            return _VERBS[type(command)], command.quantity


def _refused(
    rows: Rows, stock: Stock | None, command: OperatorStockCommand, at_ms: int
) -> Refusal | None:
    verb, quantity = _verb_of(command, stock or NOTHING)
    if stock is None:
        if is_misspelt(command.sku):
            return Refusal.MISSPELT_SKU
        return None if verb in _FOUNDS and quantity else Refusal.UNKNOWN_SKU
    refusal = _refused_quota(rows, command, at_ms)
    if refusal is not None:
        return refusal
    if verb is Verb.COUNT_DOWN:
        return Refusal.NOT_ENOUGH if quantity > stock.on_hand else None
    source: Any = MOVES[verb].source
    there = {Bucket.AVAILABLE: stock.available, Bucket.FROZEN: stock.frozen}
    if quantity > there.get(source, quantity):
        return Refusal.NOT_ENOUGH
    if source is None and stock.on_hand + stock.shortfall + quantity > BUCKET_MAX:
        return Refusal.TOO_LARGE
    return None


def _refused_quota(rows: Rows, command: OperatorStockCommand, at_ms: int) -> Refusal | None:
    if not isinstance(command, AllotStock | GiveBackStock):
        return None
    row: Quota | None = rows.get(quota_key(command.sku, command.quota))
    if isinstance(command, GiveBackStock):
        if row is None:
            return Refusal.UNKNOWN_QUOTA
        return Refusal.NOT_ENOUGH if command.quantity > row.left else None
    window = command.starts_ms, command.ends_ms
    if command.ends_ms <= max(command.starts_ms, at_ms):
        return Refusal.WRONG_WINDOW
    if row is not None and (row.starts_ms, row.ends_ms) != window:
        return Refusal.WRONG_WINDOW
    return None


def _booked(rows: Rows, trail: _Trail, command: OperatorStockCommand) -> dict[bytes, Any]:
    """Make the moves of a command that was not refused; return the other rows it changes."""
    verb, quantity = _verb_of(command, trail.stock)
    match command:
        case CountStock():
            _count(trail, verb, quantity)
        case AllotStock() | GiveBackStock():
            return _requoted(rows, trail, command, verb)
        case _:
            trail.move(verb, quantity)
    return {}


def _count(trail: _Trail, verb: Verb, quantity: int) -> None:
    """Take what is missing from what is available; what is missing beyond that is short."""
    if verb is Verb.COUNT_UP:
        if quantity:
            trail.move(verb, quantity)
        return
    free = min(quantity, trail.stock.available)
    if free:
        trail.move(verb, free)
    if quantity > free:
        trail.move(Verb.COUNT_SHORT, quantity - free)


def _requoted(
    rows: Rows, trail: _Trail, command: AllotStock | GiveBackStock, verb: Verb
) -> dict[bytes, Any]:
    sku, name, quantity = command.sku, command.quota, command.quantity
    row: Quota | None = rows.get(quota_key(sku, name))
    trail.move(verb, quantity, quota=name)
    if isinstance(command, AllotStock):
        allotted, left = (row.allotted, row.left) if row is not None else (0, 0)
        window = command.starts_ms, command.ends_ms
        row = Quota(sku, name, *window, allotted + quantity, left + quantity, command.id)
    elif row is not None:
        window = row.starts_ms, row.ends_ms
        row = Quota(sku, name, *window, row.allotted - quantity, row.left - quantity, row.cause)
    else:
        raise AssertionError(f"{sku} has no quota {name}, and its command was not refused")
    trail.quota(row)
    return {quota_key(sku, name): row}


def _answered(
    command: OperatorStockCommand | RefuseStock, refusal: Refusal | None, available: int, at_ms: int
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
        case HoldStock() | ConfirmHold():
            return _no(command, Refusal.BUG, 0)[1]
        case _ if isinstance(command, OperatorStockCommand | RefuseStock):
            return [_answered(command, Refusal.BUG, 0, at_ms)]
        case _:
            return []


DECIDE: dict[type, Rule] = {
    HoldStock: _hold,
    ConfirmHold: _confirm,
    OccupyStock: _occupy,
    ReleaseStock: _release,
    ShipStock: _ship,
    ReturnStock: _returned,
    EndQuota: _end_quota,
    RefuseStock: _operate,
    ReceiveStock: _operate,
    AdjustStock: _operate,
    FreezeStock: _operate,
    UnfreezeStock: _operate,
    CountStock: _operate,
    AllotStock: _operate,
    GiveBackStock: _operate,
}

TABLE = Table(
    name="stock",
    number=2,
    decode_command=msgpack.Decoder(StockCommand).decode,
    decode_row=msgpack.Decoder(Stock | Hold | Quota | Answers).decode,
    encode_row=msgpack.Encoder().encode,
    decide=decide,
    answer_failed=answer_failed,
    # A hold beside its balance: a key, two numbers, two words and a deadline.
    growth_bytes=256,
    deadline_ms=deadline_ms,
    wake=wake,
    deadlines_in=QUOTA_MARK,
)
