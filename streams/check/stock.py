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
    OF_HOLDS,
    OF_QUOTAS,
    PATHS,
    RETURNS,
    SHORTFALL,
    UNHEARD,
)

_pack = msgpack.Encoder().encode
_COLUMNS = (*BUCKETS, SHORTFALL)
_INDEX = {bucket: place for place, bucket in enumerate(_COLUMNS)}
#: What the trail in PostgreSQL says of a move, after SKU and version.
MOVE_COLUMNS = (
    "at_ms", "verb", "quantity", "source", "target", *BUCKETS,
    "order", "deadline_ms", "command", "operator", "reason", "cause", SHORTFALL, "held", "quota",
)  # fmt: skip
#: What an event leaves out.
_UNSAID: dict[str, Any] = {
    SHORTFALL: 0,
    **dict.fromkeys(
        ("order", "deadline_ms", "command", "operator", "reason", "held", "quota"), None
    ),
}


class Hold:
    """What one order holds of one SKU, as folded; it stays after its end."""

    __slots__ = (
        "bucket", "deadline_ms", "drawn", "live", "origin", "quantity", "quota", "shipped",
        "version",
    )  # fmt: skip

    def __init__(
        self, quantity: int, bucket: str, origin: str, deadline_ms: int | None, version: int
    ) -> None:
        self.quantity = quantity
        self.bucket = bucket
        self.origin = origin
        self.deadline_ms = deadline_ms
        self.version = version
        self.live = True
        #: Of which quota how many of them are.
        self.quota = ""
        self.drawn = 0
        #: All that has left of it, also of one that was held before it.
        self.shipped = 0

    def words(self) -> str:
        """Say it as examples do."""
        return f"{self.quantity} {self.bucket}" if self.live else "nothing"


class Quota:
    """What a campaign or channel has of one SKU, as folded."""

    __slots__ = ("allotted", "cause", "ended_ms", "ends_ms", "left", "said", "starts_ms", "version")

    def __init__(self) -> None:
        self.starts_ms: int | None = None
        self.ends_ms: int | None = None
        self.allotted = self.left = self.version = 0
        self.cause = ""
        #: When it was told that its window is over.
        self.ended_ms: int | None = None
        #: When it was told of last.
        self.said = 0


class Sku:
    """One SKU as folded."""

    __slots__ = (
        "at_ms", "balance", "drawn", "held", "holds", "moves", "quotas", "returned", "returning",
        "short_told", "version",
    )  # fmt: skip

    def __init__(self) -> None:
        #: The five buckets and the shortfall.
        self.balance = [0, 0, 0, 0, 0, 0]
        self.version = 0
        self.at_ms = 0
        #: Sum of the live holds.
        self.held = 0
        self.holds: dict[str, Hold] = {}
        #: version -> what the trail must say, packed.
        self.moves: dict[int, bytes] = {}
        self.quotas: dict[str, Quota] = {}
        #: Order -> (quota, units) drawn for a hold that follows, or given back by one before.
        self.drawn: dict[str, tuple[str, int]] = {}
        self.returning: dict[str, tuple[str, int]] = {}
        #: Order -> what came back of what it shipped.
        self.returned: dict[str, int] = {}
        #: The shortfall that was told last.
        self.short_told = 0

    @property
    def on_hand(self) -> int:
        """What stands in the warehouse."""
        return sum(self.balance[:5]) - self.balance[5]


class StockFold:
    """Folds stock events; `skus` is what they come to."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self.skus: dict[str, Sku] = {}
        #: (sku, order, verb, refusal, at_ms, cause) -> how often a letter met no hold.
        self.ignored: Counter[tuple[Any, ...]] = Counter()
        #: Command id -> (sku, refusal, available, at_ms) of its first answer.
        self.answers: dict[str, tuple[Any, ...]] = {}
        #: Command id, and order or SKU -> the refusal, if any, of its first answer that decided it.
        self._decided: dict[tuple[str, str], str | None] = {}
        #: (sku, version) -> (at_ms, before, shortfall, held, cause).
        self.shortfalls: dict[tuple[str, int], tuple[Any, ...]] = {}

    def moved(self, said: dict[str, Any]) -> None:
        """Take one `stock.moved`."""
        event = _UNSAID | said
        name = event["sku"]
        sku = self.skus.get(name)
        if sku is None:
            sku = self.skus[name] = Sku()
        where = f"{name} version {event['version']}"
        self._check_balance(sku, event, where)
        self._check_path(sku, event, where)
        balance = [event[bucket] for bucket in _COLUMNS]
        verb = event["verb"]
        if verb in OF_QUOTAS:
            self._quota(sku, event, where)
        elif event["order"] is not None and verb in OF_HOLDS:
            self._hold(sku, event, where)
        elif event["order"] is not None and verb in RETURNS:
            order = event["order"]
            sku.returned[order] = sku.returned.get(order, 0) + event["quantity"]
        if verb in BY_HAND or (verb == "give_back" and event["operator"] is not None):
            self._check_signed(event, where)
        self._check_oversell(sku, event, balance, where)
        sku.balance, sku.version, sku.at_ms = balance, event["version"], event["at_ms"]
        sku.moves[sku.version] = _pack([event[column] for column in MOVE_COLUMNS])
        self._claims["I1"].figures["moves"] += 1

    def _check_balance(self, sku: Sku, event: dict[str, Any], where: str) -> None:
        claim = self._claims["I1"]
        claim.same(f"{event['sku']}, the next move", sku.version + 1, event["version"])
        expected, quantity = list(sku.balance), event["quantity"]
        if quantity <= 0:
            claim.wrong(where, "a quantity above 0", quantity)
        for bucket, change in ((event["source"], -quantity), (event["target"], quantity)):
            if bucket is not None:
                # What is given to the shortfall makes it less.
                expected[_INDEX[bucket]] += -change if bucket == SHORTFALL else change
        for bucket, should in zip(_COLUMNS, expected, strict=True):
            claim.same(f"{where} {bucket}", should, event[bucket])
            if event[bucket] < 0:
                claim.wrong(f"{where} {bucket}", "0 or more", event[bucket])

    def _check_path(self, sku: Sku, event: dict[str, Any], where: str) -> None:
        claim = self._claims["I3"]
        verb, path = event["verb"], (event["source"], event["target"])
        if path not in PATHS.get(verb, ()):
            claim.wrong(where, f"a path of {verb}", f"{path[0]} to {path[1]}")
        on_hand = sum(event[bucket] for bucket in BUCKETS) - event[SHORTFALL]
        change = on_hand - sku.on_hand
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
        claim, order, verb, units = (
            self._claims["T21"], event["order"], event["verb"], event["quantity"],
        )  # fmt: skip
        hold = sku.holds.get(order)
        live = hold is not None and hold.live
        if verb == "hold":
            self._held(sku, event, where)
            return
        if hold is None or not live:
            claim.wrong(where, f"{order} holds something to {verb}", "no live hold")
            return
        rest = event["held"]
        claim.same(where, hold.words(), f"{units + (rest or 0)} {event['source']}")
        hold.version, hold.deadline_ms = event["version"], event["deadline_ms"]
        if verb not in ENDS_A_HOLD:
            hold.bucket = event["target"]
            return
        sku.held -= units
        hold.shipped += units if verb == "ship" else 0
        drawn = min(hold.drawn, rest or 0)
        if verb != "ship" and hold.drawn > drawn:
            sku.returning[order] = (hold.quota, hold.drawn - drawn)
        hold.drawn = drawn
        if rest is None:
            hold.live = False
        else:
            hold.quantity = rest

    def _held(self, sku: Sku, event: dict[str, Any], where: str) -> None:
        """Take a hold, a new one or one that grows."""
        claim, order, units = self._claims["T21"], event["order"], event["quantity"]
        hold = sku.holds.get(order)
        if hold is not None and hold.live:
            if event["held"] is None:
                claim.wrong(where, f"{order} holds nothing before", hold.words())
            claim.same(where, f"{hold.quantity + units} {hold.bucket}",
                       f"{event['held'] or units} {event['target']}")  # fmt: skip
            hold.quantity, hold.version = event["held"] or units, event["version"]
            hold.deadline_ms = event["deadline_ms"]
        else:
            claim.same(f"{where}: held in all", units, event["held"] or units)
            if event["target"] != "locked":
                claim.wrong(where, "a new hold in locked", event["target"])
            before = hold.shipped if hold is not None else 0
            hold = sku.holds[order] = Hold(
                units, event["target"], event["source"], event["deadline_ms"], event["version"]
            )
            hold.shipped = before
        sku.held += units
        quota, drawn = sku.drawn.pop(order, ("", 0))
        if drawn:
            hold.quota, hold.drawn = quota, hold.drawn + drawn
        if drawn > units:
            self._claims["I2"].wrong(where, f"at most {units} drawn from {quota}", drawn)

    # --- quotas ----------------------------------------------------------------------------------

    def _quota(self, sku: Sku, event: dict[str, Any], where: str) -> None:
        claim, name, verb, units = (
            self._claims["I2"], event["quota"], event["verb"], event["quantity"],
        )  # fmt: skip
        if not name:
            claim.wrong(where, f"the quota of a {verb}", "none")
            return
        quota = sku.quotas.get(name)
        if quota is None or (quota.ended_ms is not None and verb == "allot"):
            quota = sku.quotas[name] = Quota()
        quota.left += OF_QUOTAS[verb] * units
        by_hand = event["operator"] is not None
        if verb == "allot":
            quota.cause = event["cause"]
        if verb == "allot" or (verb == "give_back" and by_hand):
            quota.allotted += OF_QUOTAS[verb] * units
        if quota.left < 0:
            claim.wrong(f"{where}: left of {name}", "0 or more", quota.left)
        self._check_window(quota, event, where)
        if verb == "draw":
            sku.drawn[event["order"]] = (name, units)
        elif verb == "restore":
            self._restored(sku, event, where)

    def _restored(self, sku: Sku, event: dict[str, Any], where: str) -> None:
        quota, drawn = sku.returning.pop(event["order"], ("", 0))
        if quota != event["quota"] or event["quantity"] > drawn:
            found = f"{event['quantity']} to {event['quota']}"
            self._claims["I2"].wrong(where, f"at most {drawn} back to {quota or 'none'}", found)

    def _check_window(self, quota: Quota, event: dict[str, Any], where: str) -> None:
        claim, verb, at_ms = self._claims["I2"], event["verb"], event["at_ms"]
        starts, ends = quota.starts_ms or 0, quota.ends_ms or 0
        if verb in ("draw", "restore") and not starts <= at_ms < ends:
            claim.wrong(where, f"a {verb} within {starts} to {ends}", at_ms)
        if verb == "give_back" and event["operator"] is None and not 0 < ends <= at_ms:
            claim.wrong(where, f"given back by nobody at {ends} or later", at_ms)

    def quota_changed(self, event: dict[str, Any]) -> None:
        """Take one `stock.quota`."""
        claim, name = self._claims["I2"], event["quota"]
        sku = self.skus.get(event["sku"]) or Sku()
        where = f"{event['sku']} version {event['version']}, quota {name}"
        quota = sku.quotas.get(name)
        if quota is None:
            claim.wrong(where, "no quota: nothing was allotted", event["left"])
            return
        if quota.starts_ms is None:
            quota.starts_ms, quota.ends_ms = event["starts_ms"], event["ends_ms"]
        claim.same(where,
            [quota.starts_ms, quota.ends_ms, quota.allotted, quota.left, sku.version],
            [event["starts_ms"], event["ends_ms"], event["allotted"], event["left"],
             event["version"]],
        )  # fmt: skip
        if event["ended"]:
            quota.ended_ms = event["at_ms"]
            if event["at_ms"] < event["ends_ms"]:
                claim.wrong(where, f"its end at {event['ends_ms']} or later", event["at_ms"])
        quota.version, quota.said = event["version"], event["at_ms"]
        claim.figures["changes_of_quotas"] += 1

    # --- what is held and is not there -----------------------------------------------------------

    def shortfall_changed(self, event: dict[str, Any]) -> None:
        """Take one `stock.shortfall`."""
        claim, sku = self._claims["I2"], self.skus.get(event["sku"]) or Sku()
        where = f"{event['sku']} version {event['version']}, shortfall"
        claim.same(f"{where} before", sku.short_told, event["before"])
        claim.same(
            f"{where} (version, units, held)",
            [sku.version, sku.balance[5], sku.balance[1] + sku.balance[2]],
            [event["version"], event["shortfall"], event["held"]],
        )
        sku.short_told = event["shortfall"]
        self.shortfalls.setdefault(
            (event["sku"], event["version"]),
            (event["at_ms"], event["before"], event["shortfall"], event["held"], event["cause"]),
        )
        claim.figures["changes_of_shortfalls"] += 1

    def _check_oversell(
        self, sku: Sku, event: dict[str, Any], balance: list[int], where: str
    ) -> None:
        claim, verb = self._claims["I2"], event["verb"]
        there, short = sum(balance[:5]), balance[5]
        if sku.held > there:
            claim.wrong(where, f"holds of at most {there}", sku.held)
        if balance[0] < 0:
            claim.wrong(where, "available 0 or more", balance[0])
        self._check_short(sku, verb, short, where)
        left = sum(quota.left for quota in sku.quotas.values())
        if left != balance[3]:
            claim.wrong(f"{where} reserved", f"what the quotas have left: {left}", balance[3])
        if sku.held != balance[1] + balance[2]:
            self._claims["T21"].wrong(
                where, f"holds of {balance[1]} locked + {balance[2]} occupied", sku.held
            )

    def _check_short(self, sku: Sku, verb: str, short: int, where: str) -> None:
        """Nothing is sold, and nothing else becomes of what is available, while units are short."""
        claim, (available, *_, before) = self._claims["I2"], sku.balance
        if verb == "hold" and short:
            claim.wrong(where, "no hold while more is held than is there", f"{short} short")
        if available and before and verb != "cover":
            claim.wrong(where, f"the shortfall of {before} covered first", verb)
        if verb == "count_short" and available:
            claim.wrong(where, "nothing available when units are short", available)

    def ignored_letter(self, event: dict[str, Any]) -> None:
        """Take one `stock.ignored`."""
        self.ignored[
            event["sku"], event["order"], event["verb"], event["refusal"],
            event["at_ms"], event["cause"],
        ] += 1  # fmt: skip

    def answered_command(self, event: dict[str, Any]) -> None:
        """Take one `stock.answered` or `order.answered`."""
        command = event["command"]
        self._claims["I13"].same(f"the answer to {command}: its cause", command, event["cause"])
        if event["event"] == "order.answered":
            said = (event["about"], event["refusal"], event["left"], event["at_ms"])
        else:
            said = (event["sku"], event["refusal"], event["available"], event["at_ms"])
        self.answers.setdefault(command, said)
        if said[1] not in UNHEARD:
            asked = (command, event.get("order") or event["sku"])
            first = self._decided.setdefault(asked, said[1])
            self._claims["I6"].same(f"the answer to {command}, whenever asked", first, said[1])

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
        for name, sku in self.skus.items():
            short = self._claims["I2"]
            short.same(f"{name}: its shortfall as told", sku.balance[5], sku.short_told)
            if sku.balance[5] and sku.balance[0]:
                short.wrong(name, "nothing available while units are short", sku.balance[0])
            if sku.on_hand < 0:
                short.wrong(name, "on-hand 0 or more", sku.on_hand)
            self._late_quotas(name, sku, now_ms - patience_ms)
        self._claims["I1"].figures["skus"] += len(self.skus)
        self._claims["I1"].figures["on_hand"] += sum(sku.on_hand for sku in self.skus.values())
        self._claims["I2"].figures["units_held"] += sum(sku.held for sku in self.skus.values())
        self._claims["T21"].figures["live_holds"] += held
        stuck.figures["live_holds"] += held

    def _late_quotas(self, name: str, sku: Sku, since_ms: int) -> None:
        for quota, row in sku.quotas.items():
            if row.ended_ms is None and row.ends_ms is not None and row.ends_ms < since_ms:
                self._claims["I12"].wrong(
                    f"{name}, quota {quota}", f"given back at {row.ends_ms}", f"{row.left} left"
                )
