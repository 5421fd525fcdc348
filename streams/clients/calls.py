"""
What a platform's client is made of: values, and pure functions between them. No I/O, no clock.

    Access          a shop's credentials and its address at the platform
    Request         one call, signed, ready to be sent
    Answer          what came back, whole
    Verdict         what an answer means for whoever asked
    Page            orders, or the ids of orders, and the mark of the next page
    Subscriptions   how to ask which pushes a shop gets, and what of it is needed
    Shipping        how a shop's platform is told that a parcel left
    Stocking        how a shop's platform is told what may be sold
    Client          all that is known of a platform's API, as data and functions

Promise: nothing here is shown with a secret in it, and an order is handed on in the platform's own
bytes: it is cut out of an answer, never written anew, so that no digit of it can change.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from agents.carriers import Known
from agents.channel_stock import Level
from agents.shipments import Push
from schemas.base import Word
from schemas.errors import OrderflowError, Rejected, Unavailable

#: Of a platform's own words about a failure, so much is kept.
_REASON_CHARS_MAX = 200
#: So much of a secret's beginning is hidden too; less tells little, and may be any word.
_TELLING_CHARS = 8


class PlatformUnavailable(Unavailable):
    """A platform does not answer, or not now."""

    #: All attempts were made; otherwise there were none, or the platform wants us to wait.
    tried: bool = False
    #: It answers, and wants to be asked less.
    throttled: bool = False
    #: How long it is to be left alone, where it is known, s.
    retry_after_s: float | None = None


class CredentialsRefused(OrderflowError):  # noqa: N818  the name says who must act
    """A platform does not take the shop's credentials; a person has to renew them."""


class RequestRefused(Rejected):
    """A platform refuses this request, and will refuse it again unchanged."""


class Unreadable(OrderflowError):  # noqa: N818  an answer's fault, caught where it was asked for
    """An answer is not what this platform answers; asked again it may be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """How often a shop may be asked."""

    per_s: float
    burst: int
    #: Where the figure is from: the platform's own word, or our caution.
    stated: str


class Listing(NamedTuple):
    """What a platform calls one thing that a shop sells there."""

    #: Of the goods, product or item; empty where the platform does not ask.
    item: str
    #: Of its variant; empty: the goods have none.
    sku: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """One shop at its platform. Secrets are not in its representation."""

    platform: str
    shop: str
    base_url: str
    #: The app's key, client id, partner id or consumer key.
    app_key: str = ""
    app_secret: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    #: The shop's id at the platform, where a call has to name it.
    shop_id: str = ""
    #: Where a refresh token is exchanged.
    token_url: str = ""
    #: Our word for a carrier -> the platform's, where the shop says so.
    carriers: Mapping[str, str] = field(default_factory=dict)
    #: Its platform is told what may be sold.
    tells_stock: bool = False
    #: What the mapping calls it -> what the platform calls it, where these are two things.
    listings: Mapping[str, Listing] = field(default_factory=dict, repr=False)
    #: Where at the platform the stock is: a location, a warehouse, a seller.
    place: str = ""
    #: None: as the client declares.
    rate: Rate | None = None

    def hide(self, text: str) -> str:
        """Return *text* without this shop's secrets, which a platform may repeat."""
        for secret in (self.app_secret, self.access_token, self.refresh_token):
            if secret:
                text = text.replace(secret, "***")
                text = _without_the_beginning(text, secret)
        return text


def _without_the_beginning(text: str, secret: str) -> str:
    """Return *text* without what it ends with of *secret*: it may have been shortened there."""
    for length in range(min(len(secret) - 1, len(text)), _TELLING_CHARS - 1, -1):
        if text.endswith(secret[:length]):
            return text[:-length] + "***"
    return text


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One call. What it carries is signed or secret, and so is not shown."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came back."""

    status: int
    #: By lower-case name.
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(repr=False)


class Kind(Word):
    """What an answer means, in order of precedence."""

    FINE = "fine"
    #: The credentials: a person has to act, asking again does not help.
    DENIED = "denied"
    #: Too often: later, when the platform says or when we think.
    THROTTLED = "throttled"
    #: The platform's fault: soon again.
    AWAY = "away"
    #: Our fault: this request will be refused again.
    REFUSED = "refused"


class Verdict(NamedTuple):
    """What an answer means, and what the platform says about it."""

    kind: Kind
    reason: str = ""


FINE = Verdict(Kind.FINE)


class Window(NamedTuple):
    """From this moment of modification up to that one, both included, ms."""

    from_ms: int
    to_ms: int


class Page(NamedTuple):
    """One page of a listing: whole orders, or the ids of orders that have to be asked for."""

    orders: tuple[bytes, ...] = ()
    ids: tuple[str, ...] = ()
    #: What to ask for next; none: this was the last page.
    next: str | None = None


class Token(NamedTuple):
    """An access token, and for how long it is good."""

    value: str
    good_for_s: float


class Subscription(NamedTuple):
    """One topic that a platform says it pushes."""

    topic: str
    #: What the platform says against it, in its own word; empty: it is sent.
    disabled: str = ""


class Gap(NamedTuple):
    """A topic that orders need and that is not sent: `missing`, or the platform's own word."""

    topic: str
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscriptions:
    """How a platform is asked which of its pushes a shop gets."""

    #: Topics without which orders or their changes are not pushed.
    needs: tuple[str, ...]
    ask: Callable[[Access, int], Request]
    read: Callable[[Answer], tuple[Subscription, ...]]
    #: Where an answer means something else than for orders, as a 404 may.
    verdict: Callable[[Answer], Verdict] | None = None

    def gaps(self, found: Iterable[Subscription]) -> list[Gap]:
        """Return what is needed and not sent, by what the platform has *found*."""
        sent: dict[str, str] = {}
        for each in found:
            # Two of one topic are one that is sent, if either is.
            sent[each.topic] = each.disabled if sent.get(each.topic, "-") else ""
        return [
            Gap(topic, sent.get(topic, "missing"))
            for topic in self.needs
            if sent.get(topic, "missing")
        ]


class Label(NamedTuple):
    """A number on a parcel, and what the platform calls its carrier."""

    carrier: Known
    tracking_number: str


class Parcel(NamedTuple):
    """What a platform is told: the push, in the platform's words for carriers."""

    push: Push
    #: As in the push: this parcel's first.
    labels: tuple[Label, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shipping:
    """How a platform is told of a parcel that left."""

    #: Ask the platform to take note; the bytes are the answer to `look`.
    #: Raises RequestRefused where what was seen leaves nothing to ask for.
    ask: Callable[[Access, Parcel, bytes, int], Request]
    #: What an answer to it means.
    verdict: Callable[[Answer], Verdict]
    #: What has to be seen before it can be asked.
    look: Callable[[Access, Push, int], Request] | None = None
    #: Asked twice, it is done twice: the order is looked at before.
    repeats: bool = False
    #: None: the client's.
    rate: Rate | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stocking:
    """
    How a platform is told what may be sold of one listing.

    It sets a number: told again it is the same number.
    """

    #: Ask the platform to take note; the bytes are the answer to `look`.
    ask: Callable[[Access, Level, Listing, bytes, int], Request]
    #: What an answer to it means.
    verdict: Callable[[Answer], Verdict]
    #: What has to be seen before it can be asked.
    look: Callable[[Access, Listing, int], Request] | None = None
    #: Of a listing it has to be told the item's id too.
    needs_item: bool = False
    #: An item without variants is told by its own id alone.
    whole_items: bool = False
    #: What `place` is there, and that it cannot be told without.
    place: str = ""
    needs_place: bool = False
    #: None: the client's.
    rate: Rate | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """What is known of one platform's order API."""

    platform: str
    #: Empty: each shop has an address of its own.
    base_url: str
    #: Fields of `[shops.api]` without which no call can be made.
    needs: tuple[str, ...]
    #: The field that orders are listed by.
    cursor_field: str
    #: How pages follow each other, in words.
    pages: str
    rate: Rate
    #: Where asking for single orders has a limit of its own.
    details_rate: Rate | None = None
    #: The longest span one listing may ask for.
    window_max: timedelta
    #: A window ends so long ago: by then a change is listed, and a platform's clock that is behind
    #: ours can date no further change into a window while its pages are read.
    settled_after: timedelta = timedelta(seconds=10)
    #: A listing whose pages may shift while they are read is cut until a window is one page.
    shifts: bool = False
    listing: Callable[[Access, Window, str | None, int], Request]
    read_page: Callable[[Answer, str | None], Page]
    #: Ask for orders by id, at most `details_max` at once; `read_details` gives them back by id.
    details: Callable[[Access, tuple[str, ...], int], Request]
    read_details: Callable[[Answer], Mapping[str, bytes]]
    details_max: int = 1
    #: Its pushes name an order and say too little of it: the order is asked for.
    thin_pushes: bool
    verdict: Callable[[Answer], Verdict]
    #: Exchange the refresh token for an access token, where that is the way.
    token: Callable[[Access], Request] | None = None
    read_token: Callable[[Answer], Token] | None = None
    #: Ask which pushes a shop gets, where the platform tells.
    subscriptions: Subscriptions | None = None
    #: Tell it of a parcel, where it can be told.
    ships: Shipping | None = None
    #: Tell it what may be sold; or why it cannot be told.
    stocks: Stocking | str
    #: What is not known for certain, said in the documentation.
    unsure: str = ""


def by_status(answer: Answer, reason: str = "") -> Verdict:
    """Return what the HTTP status alone says."""
    said = shortened(f"HTTP {answer.status}", reason)
    match answer.status:
        case 200 | 201 | 202:
            return FINE
        case 401 | 403:
            return Verdict(Kind.DENIED, said)
        case 429:
            return Verdict(Kind.THROTTLED, said)
        case 408 | 425:
            return Verdict(Kind.AWAY, said)
        case status if status >= 500:
            return Verdict(Kind.AWAY, said)
        case _:
            return Verdict(Kind.REFUSED, said)


def shortened(*parts: object) -> str:
    """Return what a platform said, in one short line."""
    said = ": ".join(" ".join(str(part).split()) for part in parts if part not in (None, ""))
    return said[:_REASON_CHARS_MAX]
