"""
When a worker is ready: every role has its partitions, has read their changelogs, and none of them
is halted. Never a dependency's health, or an outage would restart the fleet.
"""

from collections.abc import Sequence

from streams.engine.metrics import Metrics
from streams.engine.rounds import Role
from streams.web.health import Health


def not_ready(roles: Sequence[Role]) -> list[str]:
    """Return a sentence for everything that is not as it should be; empty when ready."""
    said = [
        f"{role.name}: partitions are being assigned or recovered"
        for role in roles
        if not role.ready
    ]
    said += [
        f"{role.name}: {tp.topic}/{tp.partition} is halted: {why}"
        for role in roles
        for tp, why in role.halted.items()
    ]
    said += [
        f"{role.name}: a round has been running for {s:.0f} s"
        for role in roles
        if (s := role.rounds.running_for()) > role.settings.request_timeout.total_seconds()
    ]
    return said


def health(metrics: Metrics, roles: Sequence[Role]) -> Health:
    """Return what a worker with *roles* says about itself."""

    async def missing() -> Sequence[str]:
        return not_ready(roles)

    return Health("worker", metrics.registry, missing)
