"""
I1, I2, I3 and the holds: every SKU folded from zero by its `stock.moved` events.

After a violation the event's own balance is taken over, so that one fault is told once and not
again by every event after it.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from msgspec import msgpack

from streams.check.report import Claims
from streams.check.words import (
    BUCKETS,
    BY_HAND,
    CHANGE_ON_HAND,
    ENDS_A_HOLD,
    PATHS,
)

_pack = msgpack.Encoder().encode
_INDEX = {bucket: place for place, bucket in enumerate(BUCKETS)}
#: What the trail in PostgreSQL says of a move, after SKU and version.
MOVE_COLUMNS = (
    "at_ms", "verb", "quantity", "source", "target", *BUCKETS,
    "order", "deadline_ms", "command", "operator", "reason", "cause",
)  # fmt: skip


class Hold:
    """What one order holds of one SKU, as folded; it stays after its end."""

    __slots__ = ("bucket", "deadline_ms", "live", "origin", "quantity", "version")

    def __init__(
        self, quantity: int, bucket: str, origin: str, deadline_ms: int | None, version: int
    ) -> None:
        self.quantity = quantity
        self.bucket = bucket
        self.origin = origin
        self.deadline_ms = deadline_ms
        self.version = version
        self.live = True

    def words(self) -> str:
        """Say it as examples do."""
        return f"{self.quantity} {self.bucket}" if self.live else "nothing"


class Sku:
    """One SKU as folded."""

    __slots__ = ("at_ms", "balance", "held", "holds", "moves", "version")

    def __init__(self) -> None:
        self.balance = [0, 0, 0, 0, 0]
        self.version = 0
        self.at_ms = 0
        #: Sum of the live holds.
        self.held = 0
        self.holds: dict[str, Hold] = {}
        #: version -> what the trail must say, packed.
        self.moves: dict[int, bytes] = {}


class StockFold:
    """Folds stock events; `skus` is what they come to."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self.skus: dict[str, Sku] = {}
        #: (sku, order, verb, refusal, at_ms, cause) -> how often a letter met no hold.
        self.ignored: Counter[tuple[Any, ...]] = Counter()
        #: Command id -> (sku, refusal, available, at_ms) of its first answer.
        self.answers: dict[str, tuple[Any, ...]] = {}

    def moved(self, event: dict[str, Any]) -> None:
        """Take one `stock.moved`."""
        name = event["sku"]
        sku = self.skus.get(name)
        if sku is None:
            sku = self.skus[name] = Sku()
        where = f"{name} version {event['version']}"
        self._check_balance(sku, event, where)
        self._check_path(sku, event, where)
        balance = [event[bucket] for bucket in BUCKETS]
        if event["order"] is not None:
            self._hold(sku, event, where)
        elif event["verb"] in BY_HAND:
            self._check_signed(event, where)
        self._check_oversell(sku, balance, where)
        sku.balance, sku.version, sku.at_ms = balance, event["version"], event["at_ms"]
        sku.moves[sku.version] = _pack([event[column] for column in MOVE_COLUMNS])
        self._claims["I1"].figures["moves"] += 1

    def _check_balance(self, sku: Sku, event: dict[str, Any], where: str) -> None:
        claim = self._claims["I1"]
        claim.same(f"{event['sku']}, the next move", sku.version + 1, event["version"])
        expected, quantity = list(sku.balance), event["quantity"]
        if quantity <= 0:
            claim.wrong(where, "a quantity above 0", quantity)
        if event["source"] is not None:
            expected[_INDEX[event["source"]]] -= quantity
        if event["target"] is not None:
            expected[_INDEX[event["target"]]] += quantity
        for bucket, should in zip(BUCKETS, expected, strict=True):
            claim.same(f"{where} {bucket}", should, event[bucket])
            if event[bucket] < 0:
                claim.wrong(f"{where} {bucket}", "0 or more", event[bucket])

    def _check_path(self, sku: Sku, event: dict[str, Any], where: str) -> None:
        claim = self._claims["I3"]
        verb, path = event["verb"], (event["source"], event["target"])
        if path not in PATHS.get(verb, ()):
            claim.wrong(where, f"a path of {verb}", f"{path[0]} to {path[1]}")
        change = sum(event[bucket] for bucket in BUCKETS) - sum(sku.balance)
        if change and verb not in CHANGE_ON_HAND:
            claim.wrong(where, f"{verb} leaves on-hand as it is", f"on-hand changes by {change}")
        claim.figures["changes_of_on_hand"] += change != 0

    def _check_signed(self, event: dict[str, Any], where: str) -> None:
        claim = self._claims["I13"]
        claim.figures["repairs"] += 1
        for word in ("command", "operator", "reason"):
            if not event[word]:
                claim.wrong(where, f"its {word}", f"{word} is empty")
        claim.same(f"{where}: its cause", event["command"], event["cause"])

    def _hold(self, sku: Sku, event: dict[str, Any], where: str) -> None:
        claim, order = self._claims["T21"], event["order"]
        hold = sku.holds.get(order)
        live = hold is not None and hold.live
        if event["verb"] == "hold":
            if live:
                claim.wrong(where, f"{order} holds nothing before", hold and hold.words())
            sku.holds[order] = Hold(
                event["quantity"],
                event["target"],
                event["source"],
                event["deadline_ms"],
                event["version"],
            )
            sku.held += event["quantity"]
            return
        if hold is None or not live:
            claim.wrong(where, f"{order} holds something to {event['verb']}", "no live hold")
            return
        claim.same(where, hold.words(), f"{event['quantity']} {event['source']}")
        hold.version, hold.deadline_ms = event["version"], event["deadline_ms"]
        if event["verb"] in ENDS_A_HOLD:
            hold.live = False
            sku.held -= hold.quantity
        else:
            hold.bucket = event["target"]

    def _check_oversell(self, sku: Sku, balance: list[int], where: str) -> None:
        claim = self._claims["I2"]
        if sku.held > sum(balance):
            claim.wrong(where, f"holds of at most {sum(balance)}", sku.held)
        if balance[0] < 0:
            claim.wrong(where, "available 0 or more", balance[0])
        if sku.held != balance[1] + balance[2]:
            self._claims["T21"].wrong(
                where, f"holds of {balance[1]} locked + {balance[2]} occupied", sku.held
            )

    def ignored_letter(self, event: dict[str, Any]) -> None:
        """Take one `stock.ignored`."""
        self.ignored[
            event["sku"], event["order"], event["verb"], event["refusal"],
            event["at_ms"], event["cause"],
        ] += 1  # fmt: skip

    def answered_command(self, event: dict[str, Any]) -> None:
        """Take one `stock.answered`."""
        command = event["command"]
        self._claims["I13"].same(f"the answer to {command}: its cause", command, event["cause"])
        said = (event["sku"], event["refusal"], event["available"], event["at_ms"])
        self.answers.setdefault(command, said)

    def live_holds(self) -> Iterable[tuple[str, str, Hold]]:
        """Yield SKU, order and hold of everything that is held."""
        for name, sku in self.skus.items():
            for order, hold in sku.holds.items():
                if hold.live:
                    yield name, order, hold

    def close(self, now_ms: int, patience_ms: int) -> None:
        """Say what is stuck, and put the figures into the claims."""
        stuck = self._claims["I12"]
        held = 0
        for name, order, hold in self.live_holds():
            held += 1
            if hold.deadline_ms is not None and hold.deadline_ms + patience_ms < now_ms:
                late = (now_ms - hold.deadline_ms) // 1000
                stuck.wrong(f"{name} held by {order}", "released at its deadline", f"{late} s late")
        self._claims["I1"].figures["skus"] += len(self.skus)
        self._claims["I1"].figures["on_hand"] += sum(sum(s.balance) for s in self.skus.values())
        self._claims["I2"].figures["units_held"] += sum(sku.held for sku in self.skus.values())
        self._claims["T21"].figures["live_holds"] += held
        stuck.figures["live_holds"] += held
