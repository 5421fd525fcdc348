"""
One attempt at telling a platform what may be sold: what a queue calls when a level is due.

    listing ──> (look) ──> ask ──> taken
       │                    ├────> away, later (throttled), denied (the credentials)
       │                    └────> refused
       └──> refused: nobody has said what the platform calls it

Promises. One attempt is one attempt: when there is another, and how many, is the queue's to say.
What is told is a number and never a difference, so telling it again after an answer was lost does
no harm. Nothing secret is in a sentence.
"""

from agents.channel_stock import Level
from agents.shipments import Attempt, Told
from streams.clients.attempts import Accounts, Steps, attempted, nobody, refused, taken
from streams.clients.caller import Caller
from streams.clients.calls import Access, Client, Listing, RequestRefused, Stocking


class Stocker:
    """Tells platforms what may be sold."""

    def __init__(self, accounts: Accounts, caller: Caller) -> None:
        self._accounts = accounts
        self._caller = caller

    async def attempt(self, level: Level) -> Attempt:
        """Tell the platform once. Raises nothing for what the other side does."""
        account = self._accounts(level.platform, level.shop)
        if account is None:
            return nobody(level.platform, level.shop)
        client, access = account
        if isinstance(client.stocks, str):
            return refused(client.stocks)
        listing = listing_of(client.platform, client.stocks, access, level.theirs)
        if isinstance(listing, str):
            return refused(listing)
        work = self._told(client, client.stocks, access, level, listing)
        return await attempted(f"{level.platform}/{level.shop}", work)

    async def _told(
        self, client: Client, stocks: Stocking, access: Access, level: Level, listing: Listing
    ) -> Attempt:
        look = stocks.look
        steps = Steps(
            look and (lambda access, now_ms: look(access, listing, now_ms)),
            lambda access, seen, now_ms: stocks.ask(access, level, listing, seen, now_ms),
            stocks.verdict,
        )
        try:
            await taken(self._caller, client, access, steps, "stock")
        except (RequestRefused, ValueError) as error:
            return refused(f"{level.theirs} = {level.quantity}: {error}")
        return Attempt(Told.TAKEN)


def listing_of(platform: str, stocks: Stocking, access: Access, theirs: str) -> Listing | str:
    """Return what the platform calls *theirs*, or why that is not known."""
    found = access.listings.get(theirs)
    if found is None and not stocks.needs_item:
        return Listing("", theirs)
    if found is None or (stocks.needs_item and not found.item):
        return (
            f"{platform} asks for the item's id: give {theirs!r} a line `theirs,item,sku` in the "
            "shop's listings, and retry"
        )
    if not found.sku and not stocks.whole_items:
        return (
            f"{platform} asks for the SKU's id: give {theirs!r} one in the shop's listings, and "
            "retry"
        )
    return found
