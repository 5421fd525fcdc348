"""
I6, I8 and I10: every order's story, event by event, and the row it comes to.

What must hold while the story is told: versions run without a gap; a status follows only where it
may; of every attempt there is one verdict, it says what the answers said, and no status is told
between the asking and the verdict (T06). Only a cancellation may end an attempt without one.
"""

from array import array
from collections.abc import Mapping
from typing import Any

from msgspec import msgpack

from streams.check.journey import Ask, Statements
from streams.check.report import Claims
from streams.check.words import CANCELLED, GONE, PENDING, PUBLIC_LINE, STILL_HELD, may_follow

_pack = msgpack.Encoder().encode
AMOUNTS = ("currency", "total_minor", "shipping_minor", "discount_minor", "tax_minor", "paid_minor")
TIMES = ("created_ms", "paid_ms", "shipped_ms", "completed_ms", "updated_ms")
#: What `order.observed` says of the order, and the row repeats.
SNAPSHOT = ("status", "status_said", *AMOUNTS, *TIMES, "adapter", "digest")


class Story:
    """One order as folded."""

    __slots__ = (
        "announced",
        "announced_refund",
        "at_ms",
        "attempt",
        "case",
        "cause",
        "deadline_ms",
        "ignored",
        "ignored_why",
        "kept",
        "last",
        "lines",
        "lines_version",
        "offsets",
        "parcels",
        "pending",
        "platform",
        "prints",
        "received_ms",
        "refund",
        "refunded",
        "reservation",
        "returned",
        "shipped",
        "short",
        "snapshot",
        "told_attempt",
        "unmapped",
        "version",
    )

    def __init__(self) -> None:
        self.version = 0
        self.at_ms = 0
        self.platform = ""
        #: In the order of `SNAPSHOT`.
        self.snapshot: tuple[Any, ...] = (None,) * len(SNAPSHOT)
        self.unmapped: list[str] | None = None
        self.received_ms: int | None = None
        self.refund: str | None = None
        self.refunded: int | None = None
        self.announced: str | None = None
        self.announced_refund: str | None = None
        self.reservation = "asking"
        #: The last attempt that is decided, and the one that is asked and is not.
        self.attempt = 0
        self.pending: int | None = None
        #: The attempt that the last verdict or expiry named.
        self.told_attempt: int | None = None
        self.deadline_ms: int | None = None
        self.short: list[Any] | None = None
        #: The last verdict refused what an edit wanted more, and left what was held.
        self.kept = False
        #: SKU -> disposition -> units that came back.
        self.returned: dict[str, dict[str, int]] = {}
        #: (carrier, number) of each parcel of ours, and the units by line that left in them.
        self.parcels: list[tuple[str, str]] = []
        self.shipped: dict[str, int] = {}
        self.case: str | None = None
        self.ignored = 0
        self.ignored_why: str | None = None
        #: Cause of what was observed last, and (tag, cause) of the last event.
        self.cause = ""
        self.last = ("", "")
        #: The last lines told, packed, and the version they came with.
        self.lines = b""
        self.lines_version = 0
        #: Of every version the hash of the event's bytes, and its offset.
        self.prints = array("q")
        self.offsets = array("q")

    @property
    def status(self) -> str | None:
        """The platform's word."""
        return self.snapshot[0]  # type: ignore[no-any-return]


class OrderFold:
    """Folds order events; `stories` is what they come to."""

    def __init__(
        self, claims: Claims, asks: Mapping[str, Mapping[int, Ask]], statements: Statements
    ) -> None:
        self._claims = claims
        self._asks = asks
        self._statements = statements
        self.stories: dict[str, Story] = {}
        self._tell = {
            "order.observed": self._observed,
            "order.ignored": self._ignored,
            "order.reserved": self._reserved,
            "order.short": self._refused,
            "order.expired": self._expired,
            "order.status": self._moved_on,
            "order.refund": self._refunded,
            "order.case": self._case,
            "order.settled": self._settled,
            "order.returned": self._returned,
            "order.shipped": self._shipped,
        }
        #: (order, version) -> what a return said.
        self.returns: dict[tuple[str, int], tuple[Any, ...]] = {}

    def told(self, event: dict[str, Any], bytes_: bytes, offset: int) -> None:
        """Take one order event, with the bytes it was published as."""
        key, tag = event["order"], event["event"]
        tell = self._tell[tag]
        story = self.stories.get(key)
        if story is None:
            story = self.stories[key] = Story()
        claim = self._claims["I6"]
        claim.same(f"{key}, the next event", story.version + 1, event["version"])
        tell(key, story, event)
        story.version, story.at_ms = event["version"], event["at_ms"]
        story.last = (tag, event["cause"])
        story.prints.append(hash(bytes_))
        story.offsets.append(offset)
        claim.figures["events"] += 1

    def _where(self, key: str, event: dict[str, Any]) -> str:
        return f"{key} version {event['version']} ({event['event']})"

    # --- what the platform says ------------------------------------------------------------------

    def _observed(self, key: str, story: Story, event: dict[str, Any]) -> None:
        if story.received_ms is not None:
            self._follow(key, event, "the platform's status", story.status, event["status"])
        story.platform = event["platform"]
        story.snapshot = tuple([event[column] for column in SNAPSHOT])
        story.unmapped = event["unmapped"]
        story.received_ms = event["received_ms"] or event["at_ms"]
        story.refund, story.refunded = event["refund"], event["refunded_minor"]
        story.cause = event["cause"]
        if event["lines"]:
            lines = [[line[column] for column in PUBLIC_LINE] for line in event["lines"]]
            story.lines = _pack(lines)
            story.lines_version = event["version"]
            self._stated(key, event, lines)
        self._money(key, event)
        self._ask(key, story)

    def _stated(self, key: str, event: dict[str, Any], lines: list[list[Any]]) -> None:
        """Compare what is told of an order with what was said of it."""
        said, claim, where = self._statements.said, self._claims["I8"], self._where(key, event)
        for line in lines:
            if not said(key, "line", *line):
                claim.wrong(where, "lines as a statement of this order has them", line)
        status = event["status"], event["status_said"]
        if status != (None, None) and not said(key, "status", *status):
            claim.wrong(where, "a status that a statement of this order has", status)

    def _ignored(self, key: str, story: Story, event: dict[str, Any]) -> None:  # noqa: ARG002  every teller has this shape
        story.ignored += 1
        story.ignored_why = event["why"]

    def _follow(
        self, key: str, event: dict[str, Any], what: str, before: str | None, after: str | None
    ) -> None:
        if not may_follow(before, after):
            where = self._where(key, event)
            self._claims["I6"].wrong(where, f"{what} to stay or go on from {before}", after)

    def _money(self, key: str, event: dict[str, Any]) -> None:
        claim, where = self._claims["I10"], self._where(key, event)
        amounts = tuple([event[column] for column in AMOUNTS])
        claim.figures["events_with_money"] += amounts[1] is not None
        for name, value in zip(AMOUNTS[1:], amounts[1:], strict=True):
            if value is not None and type(value) is not int:
                claim.wrong(f"{where} {name}", "a whole number of minor units", repr(value))
        if any(amount is not None for amount in amounts) and not self._statements.said(
            key, "amounts", *amounts
        ):
            claim.wrong(where, "amounts as a statement of this order has them", amounts)

    # --- the verdict -----------------------------------------------------------------------------

    def _ask(self, key: str, story: Story, cause: str | None = None) -> None:
        """The next attempt is pending once the statement, or command, that caused it is told."""
        if story.pending is None:
            ask = self._asks.get(key, {}).get(story.attempt + 1)
            if ask is not None and ask.cause == (cause or story.cause):
                story.pending = story.attempt + 1

    def _reserved(self, key: str, story: Story, event: dict[str, Any]) -> None:
        self._verdict(key, story, event)
        story.reservation, story.kept = "partial" if event["short"] else "reserved", False
        story.deadline_ms = event["deadline_ms"]
        where = self._where(key, event)
        if event["short"] and not self._statements.is_partial(key):
            self._claims["I6"].wrong(where, "all lines or none", f"short of {event['short']}")

    def _refused(self, key: str, story: Story, event: dict[str, Any]) -> None:
        self._verdict(key, story, event)
        story.kept = event["kept"]
        story.reservation = "partial" if story.kept else "short"
        story.deadline_ms = event["deadline_ms"]
        if not event["short"]:
            self._claims["I6"].wrong(self._where(key, event), "what it is short of", "nothing")

    def _verdict(self, key: str, story: Story, event: dict[str, Any]) -> None:
        claim, where, attempt = self._claims["I6"], self._where(key, event), event["attempt"]
        claim.figures["verdicts"] += 1
        claim.figures["short"] += event["event"] == "order.short"
        if attempt != story.pending:
            asked = story.pending or f"no verdict: {story.attempt} is decided, none is asked"
            claim.wrong(where, f"attempt {asked}", f"attempt {attempt}")
        ask = self._asks.get(key, {}).get(attempt)
        if ask is not None:
            claim.same(f"{where}: answers to {ask.asked} asks", ask.asked, ask.answered)
            said = sorted((no["sku"], no["refusal"], no["available"]) for no in event["short"])
            claim.same(f"{where}: refused", sorted(ask.refused), said)
        if event["status"] is not None:
            self._follow(key, event, "the status told", story.announced, event["status"])
            story.announced = event["status"]
        story.attempt, story.pending = max(attempt, story.attempt), None
        story.told_attempt, story.short = attempt, event["short"] or None
        self._ask(key, story)

    def _expired(self, key: str, story: Story, event: dict[str, Any]) -> None:
        claim, where = self._claims["I6"], self._where(key, event)
        claim.same(f"{where}: its attempt", story.attempt, event["attempt"])
        if event["at_ms"] < event["deadline_ms"]:
            claim.wrong(where, f"not before {event['deadline_ms']}", event["at_ms"])
        claim.figures["expired"] += 1
        story.reservation, story.told_attempt, story.short = "expired", event["attempt"], None
        story.deadline_ms = None

    # --- what is told of the status --------------------------------------------------------------

    def _moved_on(self, key: str, story: Story, event: dict[str, Any]) -> None:
        claim, where, status = self._claims["I6"], self._where(key, event), event["status"]
        claim.same(f"{where}: the status before", story.announced, event["before"])
        claim.same(f"{where}: told and observed", story.status, status)
        self._follow(key, event, "the status told", story.announced, status)
        if story.pending is not None:
            if status == CANCELLED:
                story.attempt, story.pending = story.pending, None
            else:
                verdict = f"the verdict of attempt {story.pending} first (T06)"
                claim.wrong(where, verdict, f"status {status}")
        story.announced, story.reservation = status, event["reservation"]
        if status in GONE | {CANCELLED} and story.reservation in STILL_HELD:
            claim.wrong(where, f"nothing held any more at {status}", story.reservation)
        if status != PENDING:
            story.deadline_ms = None

    def _refunded(self, key: str, story: Story, event: dict[str, Any]) -> None:
        before = event["before"]
        if before != story.announced_refund and (before, story.announced_refund) != ("NONE", None):
            self._claims["I6"].wrong(self._where(key, event), story.announced_refund, before)
        story.refund, story.refunded = event["refund"], event["refunded_minor"]
        story.announced_refund = event["refund"]

    def _case(self, key: str, story: Story, event: dict[str, Any]) -> None:  # noqa: ARG002  every teller has this shape
        story.case = event["case"]
        self._claims["I6"].figures["cases"] += 1

    def _settled(self, key: str, story: Story, event: dict[str, Any]) -> None:
        claim = self._claims["I13"]
        if story.case is None:
            self._claims["I6"].wrong(self._where(key, event), "an open case", "none")
        for word in ("command", "operator", "reason"):
            if not event[word]:
                claim.wrong(self._where(key, event), f"its {word}", f"{word} is empty")
        story.case = event["open_case"]
        if event["choice"] != "backorder":
            # What was given up is missing beside what is held, and nobody is short of it any more.
            story.kept = True
        self._ask(key, story, event["cause"])

    def _returned(self, key: str, story: Story, event: dict[str, Any]) -> None:
        back = story.returned.setdefault(event["sku"], {})
        disposition, units = event["disposition"], event["quantity"]
        back[disposition] = back.get(disposition, 0) + units
        where = f"{self._where(key, event)}: {event['sku']} back in all"
        self._claims["I6"].same(where, sum(back.values()), event["returned"])
        for word in ("command", "operator", "reason"):
            if not event[word]:
                claim = self._claims["I13"]
                claim.wrong(self._where(key, event), f"its {word}", f"{word} is empty")
        self.returns[key, event["version"]] = (
            event["at_ms"], event["sku"], units, disposition, event["command"], event["operator"],
            event["reason"],
        )  # fmt: skip
        self._claims["I6"].figures["returns"] += 1

    def _shipped(self, key: str, story: Story, event: dict[str, Any]) -> None:
        """A parcel of ours: they are counted without a gap, and no line leaves more than whole."""
        claim, where = self._claims["I6"], self._where(key, event)
        claim.same(f"{where}: its number", len(story.parcels) + 1, event["parcel"])
        claim.same(f"{where}: those before", story.parcels, [(*each,) for each in event["earlier"]])
        story.parcels.append((event["carrier"], event["tracking_number"]))
        if not event["lines"]:
            claim.wrong(where, "something in the parcel", "nothing")
        at, units = PUBLIC_LINE.index("line_id"), PUBLIC_LINE.index("quantity")
        ordered = {line[at]: line[units] for line in msgpack.decode(story.lines or b"\x90")}
        for line in event["lines"]:
            id_ = line["line_id"]
            story.shipped[id_] = story.shipped.get(id_, 0) + line["quantity"]
            most = ordered.get(id_, 0) - story.shipped[id_]
            if line["quantity"] < 1 or not 0 <= line["left"] <= most:
                claim.wrong(f"{where}: line {id_}", f"some of it, and {most} left at most", line)
        for word in ("command", "operator", "reason"):
            if not event[word]:
                self._claims["I13"].wrong(where, f"its {word}", f"{word} is empty")
        story.reservation = event["reservation"]
        claim.figures["parcels"] += 1

    # --- at the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """Say which attempts are open, and put the figures into the claims."""
        self._claims["I6"].figures["orders"] += len(self.stories)
        stuck = self._claims["I12"]
        for key, asks in self._asks.items():
            story = self.stories.get(key)
            decided = story.attempt if story is not None else 0
            for attempt in asks:
                if attempt > decided:
                    stuck.wrong(f"{key} attempt {attempt}", "a verdict", "asked, and nothing told")
        for story in self.stories.values():
            self._balance(story)

    def _balance(self, story: Story) -> None:
        """Count, platform by platform, whose own sums do not add up; they are not ours to judge."""
        figures = self._claims["I10"].figures
        _, total, shipping, discount, tax, paid = story.snapshot[2:8]
        if story.refunded is not None and paid is not None and story.refunded > paid:
            figures[f"refunded_more_than_paid_as_said_by_{story.platform}"] += 1
        if total is None or not story.lines:
            return
        lines = msgpack.decode(story.lines)
        extra = (shipping or 0) + (tax or 0)
        sums = set()
        if all(line[6] is not None for line in lines):
            goods = sum(line[5] * line[6] for line in lines)
            sums |= {goods + extra - (discount or 0), goods + (shipping or 0) - (discount or 0)}
        if all(line[7] is not None for line in lines):
            goods = sum(line[7] for line in lines)
            sums |= {goods + extra, goods + (shipping or 0), goods + extra - (discount or 0)}
        figures["orders_with_sums"] += bool(sums)
        if sums and total not in sums:
            figures[f"sums_differ_as_said_by_{story.platform}"] += 1
