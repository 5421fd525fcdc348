"""
Whose APIs are called: the `[shops.api]` tables of the shops file.

Promise: credentials go to an https address or to this machine, and to nowhere else; a message about
a wrong entry names its field, never what it holds; what is needed and missing is said at once.
"""

import csv
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from schemas.errors import Misconfigured
from streams.clients import CLIENTS
from streams.clients.calls import Access, Client, Listing, Rate
from streams.gateway.shops import PLACEHOLDER, Entry, checked, entries, secret_in

_HERE = frozenset({"127.0.0.1", "localhost", "::1"})
#: The first line of a shop's listings.
LISTING_COLUMNS = ["theirs", "item", "sku"]
_SECRETS = ("app_secret", "access_token", "refresh_token")


class StockEntry(BaseModel):
    """One `[shops.api.stock]` table: the platform is told what may be sold."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    #: A CSV file, `theirs,item,sku`: what the mapping calls it, and what the platform does.
    listings: Path | None = None
    #: Where there the stock is: a location, a warehouse, a seller.
    place: str = ""


class ApiEntry(BaseModel):
    """One `[shops.api]` table, as it stands in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    #: Not the platform's own address: a shop's own site, a proxy, a simulator.
    base_url: str = ""
    token_url: str = ""
    #: None: the entry's own, which webhooks are signed with.
    app_key: str = ""
    app_secret: SecretStr | None = None
    app_secret_file: Path | None = None
    access_token: SecretStr | None = None
    access_token_file: Path | None = None
    refresh_token: SecretStr | None = None
    refresh_token_file: Path | None = None
    #: The shop's id, cipher or marketplaces, as its platform's client says.
    shop_id: str = ""
    #: Our word for a carrier -> the platform's code, where this shop knows better.
    carriers: dict[str, str] = Field(default_factory=dict)
    #: None: its platform is not told by us what may be sold.
    stock: StockEntry | None = None
    #: Calls a second and at once, where the shop's plan has its own.
    calls_per_s: float | None = Field(default=None, gt=0, le=1000)
    calls_at_once: int | None = Field(default=None, ge=1, le=1000)
    #: None: ORDERFLOW_POLLING_EVERY.
    every: timedelta | None = Field(default=None, gt=timedelta(0))
    #: Shall the platform push? None: where its webhooks are taken here.
    subscriptions: bool | None = None


class Account(BaseModel):
    """One shop, ready to be called."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    client: Client
    access: Access
    every: timedelta | None = None
    #: Its pushes are awaited: that they are subscribed to is looked at.
    pushes: bool = False


def read(file: Path | None) -> dict[tuple[str, str], Account]:
    """Return the shops in *file* whose API may be called, at least one; raises Misconfigured."""
    accounts = known(file)
    if not accounts:
        raise Misconfigured(f"The shops file {file} has no [shops.api] table; add one to a shop.")
    return accounts


def known(file: Path | None) -> dict[tuple[str, str], Account]:
    """Return the shops in *file* whose API may be called, if any; raises Misconfigured."""
    named, found = entries(file)
    return {
        (entry.platform, entry.shop): _account(entry, place, named.parent)
        for place, entry in found
        if entry.api is not None
    }


def _account(entry: Entry, place: str, folder: Path) -> Account:
    client = CLIENTS.get(entry.platform)
    if client is None:
        raise Misconfigured(f"{place}: platform: an api can be called of {', '.join(CLIENTS)}.")
    api = checked(ApiEntry, entry.api, f"{place}, api")
    values: dict[str, Any] = {
        "base_url": (api.base_url or client.base_url).rstrip("/"),
        "token_url": api.token_url,
        "app_key": api.app_key or entry.app_key,
        "shop_id": api.shop_id,
        **{name: _secret(api, name, place, folder) for name in _SECRETS},
    }
    for name in client.needs:
        if not values[name]:
            raise Misconfigured(f"{place}: api.{name}: {entry.platform} needs it; add it.")
    if PLACEHOLDER in api.carriers.values():
        raise Misconfigured(f"{place}: api.carriers: put the platform's code for {PLACEHOLDER}.")
    for name in ("base_url", "token_url"):
        _refuse_open(values[name], f"{place}: api.{name}")
    access = Access(
        platform=entry.platform,
        shop=entry.shop,
        rate=_rate(api, place),
        carriers=api.carriers,
        **_stock(client, api.stock, f"{place}, api.stock", folder),
        **values,
    )
    pushes = not entry.is_polled_only if api.subscriptions is None else api.subscriptions
    return Account(client=client, access=access, every=api.every, pushes=pushes)


def _stock(client: Client, said: StockEntry | None, place: str, folder: Path) -> dict[str, Any]:
    """Return what `Access` says of stock."""
    if said is None:
        return {}
    if isinstance(client.stocks, str):
        raise Misconfigured(f"{place}: {client.stocks}; take the table away.")
    if client.stocks.needs_place and not said.place:
        raise Misconfigured(
            f"{place}: place: {client.platform} needs it ({client.stocks.place}); add it."
        )
    if PLACEHOLDER in (said.place, str(said.listings)):
        raise Misconfigured(f"{place}: put the shop's own in place of {PLACEHOLDER}.")
    listings = _listings(folder / said.listings, place) if said.listings else {}
    return {"tells_stock": True, "listings": listings, "place": said.place}


def _listings(file: Path, place: str) -> Mapping[str, Listing]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, restval="")
            if list(rows.fieldnames or ()) != LISTING_COLUMNS:
                columns = ",".join(LISTING_COLUMNS)
                raise Misconfigured(f"{place}: {file} begins with another line than {columns}.")
            found: dict[str, Listing] = {}
            for row in rows:
                theirs, item, sku = (row[name].strip() for name in LISTING_COLUMNS)
                if not theirs or not (item or sku) or None in row:
                    raise Misconfigured(f"{place}: {file}, line {rows.line_num}: is not whole.")
                if theirs in found:
                    raise Misconfigured(
                        f"{place}: {file}, line {rows.line_num}: {theirs} comes a second time."
                    )
                found[theirs] = Listing(item, sku)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = type(error).__name__
        raise Misconfigured(f"{place}: listings: {file} cannot be read ({why}).") from None
    return found


def _secret(api: ApiEntry, name: str, place: str, folder: Path) -> str:
    said: SecretStr | None = getattr(api, name)
    file: Path | None = getattr(api, f"{name}_file")
    if said is not None and file is not None:
        raise Misconfigured(f"{place}: api.{name}: give it or {name}_file, not both.")
    value = said.get_secret_value() if said else secret_in(folder / file, place) if file else ""
    if value == PLACEHOLDER:
        raise Misconfigured(f"{place}: api.{name}: put the shop's own in place of {PLACEHOLDER}.")
    return value


def _rate(api: ApiEntry, place: str) -> Rate | None:
    if api.calls_per_s is None and api.calls_at_once is None:
        return None
    if api.calls_per_s is None or api.calls_at_once is None:
        raise Misconfigured(f"{place}: api: give calls_per_s and calls_at_once, or neither.")
    return Rate(per_s=api.calls_per_s, burst=api.calls_at_once, stated="the shops file")


def _refuse_open(url: str, where: str) -> None:
    """Credentials in clear text may go to this machine only."""
    if not url:
        return
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in _HERE:
        return
    raise Misconfigured(f"{where}: give an https address; http only to this machine.")
