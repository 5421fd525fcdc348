"""
What an attempt at telling a platform came to, in the queue's few words.

Promise: what the other side does is never raised, and nothing secret is in a sentence.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, NamedTuple

from agents.shipments import Attempt, Told
from streams.clients.caller import Caller
from streams.clients.calls import (
    Access,
    Answer,
    Client,
    CredentialsRefused,
    PlatformUnavailable,
    Request,
    Unreadable,
    Verdict,
)

#: Credentials are renewed by a person or by another system: soon is not soon enough.
DENIED_AGAIN_S: Final = 30.0

#: Platform and shop -> who is called, and as whom; None: no such shop.
Accounts = Callable[[str, str], tuple[Client, Access] | None]


class Steps(NamedTuple):
    """How one thing is told: what has to be seen before, and what is asked then."""

    look: Callable[[Access, int], Request] | None
    #: The bytes are what was seen; empty where nothing had to be.
    ask: Callable[[Access, bytes, int], Request]
    #: What an answer to that means.
    verdict: Callable[[Answer], Verdict]


async def taken(caller: Caller, client: Client, access: Access, steps: Steps, lane: str) -> None:
    """Look where that is needed, then ask the platform to take note; raises as `Caller.once`."""
    seen = b""
    if steps.look is not None:
        seen = await caller.once(client, access, steps.look, _body_of, lane=lane)
    judging = replace(client, verdict=steps.verdict)
    await caller.once(
        judging, access, lambda access, now_ms: steps.ask(access, seen, now_ms), _body_of, lane=lane
    )


def _body_of(answer: Answer) -> bytes:
    return answer.body


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
