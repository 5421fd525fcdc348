"""Who is called when a platform is told something: the shops file, as the poller reads it."""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from streams.clients.attempts import Accounts
from streams.clients.calls import Access, Client, Stocking
from streams.polling.accounts import Account

#: The most calls that one attempt makes: look, ask, look at the order.
CALLS_MAX: Final = 3
#: The same of telling what may be sold: look, ask.
STOCK_CALLS_MAX: Final = 2
#: Attempts of one shop that are under way at a time, where its rate allows.
AT_ONCE_MAX: Final = 4

Known = Mapping[tuple[str, str], Account]


class Shop(NamedTuple):
    """A shop whose platform can be told, as the queue knows it."""

    #: `platform:shop`.
    id: str
    host: str
    at_once: int


def accounts_of(known: Known) -> Accounts:
    """Return who is called for a shop."""

    def account(platform: str, shop: str) -> tuple[Client, Access] | None:
        found = known.get((platform, shop))
        return None if found is None else (found.client, found.access)

    return account


def destination_of(platform: str, shop: str) -> str:
    """Return what the queue calls a shop's platform."""
    return f"{platform}:{shop}"


def told_shops(known: Known, within_s: float) -> list[Shop]:
    """Return the shops that can be told of parcels, where an attempt may take *within_s*."""
    return [
        _shop(key, account, _of_parcels(account.client, account.access), CALLS_MAX / within_s)
        for key, account in sorted(known.items())
        if account.client.ships is not None
    ]


def stocked_shops(known: Known, within_s: float) -> list[Shop]:
    """Return the shops that are told what may be sold, where an attempt may take *within_s*."""
    return [
        _shop(key, account, _of_stock(account.client, account.access), STOCK_CALLS_MAX / within_s)
        for key, account in sorted(known.items())
        if account.access.tells_stock
    ]


def _shop(key: tuple[str, str], account: Account, per_s: float, needs_per_s: float) -> Shop:
    """
    Return the shop, with how many attempts may be under way so that none waits for its turn.

    One that ends in a queue of our own making would count as the platform's silence.
    """
    at_once = max(1, min(AT_ONCE_MAX, int(per_s / needs_per_s)))
    return Shop(destination_of(*key), urlsplit(account.access.base_url).netloc, at_once)


def _of_parcels(client: Client, access: Access) -> float:
    own = client.ships.rate if client.ships is not None else None
    rates = [access.rate or own or client.rate, access.rate or client.details_rate or client.rate]
    return min(rate.per_s for rate in rates)


def _of_stock(client: Client, access: Access) -> float:
    own = client.stocks.rate if isinstance(client.stocks, Stocking) else None
    return (access.rate or own or client.rate).per_s
