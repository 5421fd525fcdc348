"""
What an attempt at telling a platform came to, in the queue's few words.

Promise: what the other side does is never raised, and nothing secret is in a sentence.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from agents.shipments import Attempt, Told
from streams.clients.calls import (
    Access,
    Answer,
    Client,
    CredentialsRefused,
    PlatformUnavailable,
    Unreadable,
    Verdict,
)

#: Credentials are renewed by a person or by another system: soon is not soon enough.
DENIED_AGAIN_S: Final = 30.0

#: Platform and shop -> who is called, and as whom; None: no such shop.
Accounts = Callable[[str, str], tuple[Client, Access] | None]


async def attempted(shop: str, work: Awaitable[Attempt]) -> Attempt:
    """Return what *work*, calls for one *shop*, came to."""
    try:
        return await work
    except PlatformUnavailable as error:
        told = Told.LATER if error.throttled else Told.AWAY
        return Attempt(told, str(error), error.retry_after_s)
    except Unreadable as error:
        return Attempt(Told.AWAY, f"{shop}: {error}")
    except CredentialsRefused as error:
        return Attempt(Told.DENIED, str(error), DENIED_AGAIN_S)


def nobody(platform: str, shop: str) -> Attempt:
    """Return what comes of telling a shop without API access."""
    return refused(
        f"{platform}/{shop} has no [shops.api] in the shops file: nobody can be told there"
    )


def refused(why: str) -> Attempt:
    """Return a refusal: it would be said again."""
    return Attempt(Told.REFUSED, why)


def judging(client: Client, verdict: Callable[[Answer], Verdict]) -> Client:
    """Return *client* where an answer means what *verdict* says."""
    return replace(client, verdict=verdict)


def body_of(answer: Answer) -> bytes:
    """Return an answer to be looked into later."""
    return answer.body
