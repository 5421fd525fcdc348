"""
Whether a platform still sends what a shop subscribed to.

Platforms take a subscription away after a few failed deliveries, and say nothing. The poll fills
the gap, so nobody notices that orders come minutes late; hence the question, once an hour, of every
shop whose pushes are awaited at a platform that tells.
"""

import logging
from dataclasses import dataclass, replace

from schemas.base import Word
from streams.clients.caller import Caller
from streams.clients.calls import (
    CredentialsRefused,
    Gap,
    PlatformUnavailable,
    RequestRefused,
)
from streams.polling.accounts import Account
from streams.polling.metrics import Metrics

logger = logging.getLogger(__name__)


class Health(Word):
    """How a shop's subscriptions are."""

    FINE = "fine"
    #: Some are missing or disabled: a person has to subscribe anew.
    GAPS = "gaps"
    #: The platform did not tell: it is away, or the token may not ask.
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What came of asking one shop's platform."""

    health: Health
    gaps: tuple[Gap, ...] = ()
    why: str = ""

    @property
    def sentence(self) -> str:
        """Say it to a person."""
        if self.health is Health.UNKNOWN:
            return f"its subscriptions are not known: {self.why}"
        return ", ".join(f"{gap.topic} is {gap.why}" for gap in self.gaps)


def is_asked(account: Account) -> bool:
    """Say whether there is anything to ask."""
    return account.pushes and account.client.subscriptions is not None


async def check(account: Account, caller: Caller, metrics: Metrics) -> Checked:
    """Ask the platform of *account*; whatever it says is told, and nothing is raised for it."""
    client, access, asked = account.client, account.access, account.client.subscriptions
    if asked is None:
        raise AssertionError(f"{client.platform} does not tell its subscriptions")
    if asked.verdict is not None:
        client = replace(client, verdict=asked.verdict)
    try:
        found = await caller.call(client, access, asked.ask, asked.read, lane="subscriptions")
    except (CredentialsRefused, PlatformUnavailable, RequestRefused) as error:
        checked = Checked(health=Health.UNKNOWN, why=str(error))
    else:
        gaps = tuple(asked.gaps(found))
        checked = Checked(health=Health.GAPS if gaps else Health.FINE, gaps=gaps)
    if checked.health is not Health.FINE:
        logger.warning("%s/%s: %s", access.platform, access.shop, checked.sentence)
    metrics.subscribed(access.platform, access.shop, checked.health, len(checked.gaps))
    return checked
