"""
Whether a platform's settlement file and the order of ours say the same money: the rule.

Theory of operation. Of an order there are two sides: what we know (paid, paid back) and what the
platform's files add up to, over all files of its shop. They are compared in minor units of one
currency. Time comes in twice. What was paid or paid back so lately that the files cannot have it
yet is *awaited*, no difference. And where a platform holds the buyer's money until the goods are
there, what it gave back before that is in no file: there the same amount may be missing from both
sums, because what the shop keeps is the same.

Pure: no clock, no database. `streams/settlements/` asks here for every order and writes the answer.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from schemas.base import Word
from schemas.orders import Refund, Status


class Kind(Word):
    """What an amount in a settlement file is. Its sign is the shop's: what it gets is positive."""

    #: What the buyer paid.
    PAYMENT = "payment"
    #: What the buyer got back.
    REFUND = "refund"
    #: What the platform, or a partner of it, keeps.
    FEE = "fee"
    #: Between the platform and the shop's bank; of no order.
    TRANSFER = "transfer"
    #: Subsidies, taxes that are withheld, corrections, and words that nobody knows.
    OTHER = "other"


class Verdict(Word):
    """How an order of ours and its settlement stand to each other."""

    AGREES = "agrees"
    #: What is missing may still come: the files do not reach so far.
    AWAITED = "awaited"
    PAID_DIFFERS = "paid_differs"
    REFUND_DIFFERS = "refund_differs"
    ONLY_IN_FILE = "only_in_file"
    ONLY_WITH_US = "only_with_us"
    CURRENCY_DIFFERS = "currency_differs"


#: What a person has to look at.
DIFFERENCES: Final = tuple(
    each for each in Verdict if each not in (Verdict.AGREES, Verdict.AWAITED)
)


class About(NamedTuple):
    """What a verdict means, for whoever reads it."""

    when: str
    #: Whose turn it is.
    owner: str
    todo: str


VERDICTS: Final[Mapping[Verdict, About]] = MappingProxyType({
    Verdict.AGREES: About("paid and refunded are the same on both sides", "nobody", "nothing"),
    Verdict.AWAITED: About(
        "something of ours is in no file, and the files do not reach past the platform's delay",
        "platform", "upload the next file; it is judged anew",
    ),
    Verdict.PAID_DIFFERS: About(
        "the file has more or less paid than the order", "finance",
        "look at the order's lines: a part settled apart, a discount the platform bears, a payment "
        "that was not heard of",
    ),
    Verdict.REFUND_DIFFERS: About(
        "paid is the same; refunded is not", "finance",
        "a refund that the platform did not carry out, or one that was not heard of: poll or "
        "import the order",
    ),
    Verdict.ONLY_IN_FILE: About(
        "no order of ours has that id in that shop", "finance, then operations",
        "the wrong shop, names that are missing (Shopify), or an order that never came: import it",
    ),
    Verdict.ONLY_WITH_US: About(
        "paid within the time that files cover, past the delay, and in no file", "finance",
        "a file that is missing, money the platform keeps back, or paid by another way",
    ),
    Verdict.CURRENCY_DIFFERS: About(
        "file and order are in different currencies, or the file in several", "finance",
        "amounts are not compared; check against the rate of the day and resolve",
    ),
})  # fmt: skip


class Ours(NamedTuple):
    """What we know of an order: minor units, ms."""

    currency: str | None
    paid: int
    refunded: int
    #: When it was paid, else placed; None: no platform said.
    paid_ms: int | None
    #: When the platform last said something of it.
    changed_ms: int | None


class Theirs(NamedTuple):
    """What the files add up to of an order, in minor units; *refunded* is positive."""

    currencies: tuple[str, ...]
    paid: int
    refunded: int


class Terms(NamedTuple):
    """What is so of a platform, and how far its shop's files reach."""

    settles_within_ms: int
    #: It pays back what it still holds, so that neither is in a file.
    nets_refunds: bool
    #: The last moment that a file of the shop has something of; None: there is none.
    covered_until_ms: int | None


#: An order of such a status was paid, also where no platform said when or how much.
PAID: Final = frozenset({
    Status.ON_HOLD, Status.PAID, Status.PARTIALLY_SHIPPED, Status.SHIPPED, Status.DELIVERED,
    Status.COMPLETED,
})  # fmt: skip


def paid_of(said: int | None, total: int | None, status: str | None, *, has_paid_time: bool) -> int:
    """Return what was paid of an order: as said, else its total where it was paid at all."""
    if said is not None:
        return said
    return (total or 0) if has_paid_time or status in PAID else 0


def refunded_of(said: int | None, refund: str | None, paid: int) -> int:
    """Return what was paid back: as said, else everything or nothing."""
    if said is not None:
        return said
    return paid if refund == Refund.REFUNDED else 0


def judge(ours: Ours | None, theirs: Theirs | None, terms: Terms) -> Verdict:
    """Return how the two sides stand to each other; at least one of them is there."""
    if ours is None:
        return Verdict.ONLY_IN_FILE
    if theirs is None:
        return _in_no_file(ours, terms)
    if theirs.currencies != (ours.currency,):
        return Verdict.CURRENCY_DIFFERS
    paid, refunded = ours.paid - theirs.paid, ours.refunded - theirs.refunded
    if paid == refunded and (paid == 0 or (terms.nets_refunds and paid > 0)):
        return Verdict.AGREES
    if _may_come(ours, paid, refunded, terms):
        return Verdict.AWAITED
    return Verdict.PAID_DIFFERS if paid else Verdict.REFUND_DIFFERS


def _in_no_file(ours: Ours, terms: Terms) -> Verdict:
    if ours.paid <= ours.refunded:
        return Verdict.AGREES
    if _is_too_new(ours.paid_ms, terms):
        return Verdict.AWAITED
    return Verdict.ONLY_WITH_US


def _may_come(ours: Ours, paid: int, refunded: int, terms: Terms) -> bool:
    """Say whether what is missing from the files, *paid* and *refunded*, may be in a next one."""
    if paid < 0 or refunded < 0:
        return False  # there is more in the files than we know: no file takes that away
    return (not paid or _is_too_new(ours.paid_ms, terms)) and (
        not refunded or _is_too_new(ours.changed_ms, terms)
    )


def _is_too_new(at_ms: int | None, terms: Terms) -> bool:
    if terms.covered_until_ms is None:
        return True
    return at_ms is not None and at_ms + terms.settles_within_ms > terms.covered_until_ms


def facts(ours: Ours | None, theirs: Theirs | None) -> str:
    """Return what is compared, in words; a resolution holds for these facts and for no others."""
    we = they = "-"
    if ours is not None:
        we = f"{ours.paid}-{ours.refunded} {ours.currency or '?'}"
    if theirs is not None:
        they = f"{theirs.paid}-{theirs.refunded} {'+'.join(theirs.currencies) or '?'}"
    return f"ours {we}; theirs {they}"
