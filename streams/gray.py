"""
A gray release: some of a platform's shops are read by another version of its adapter.

What may differ from shop to shop is how messages are read; how orders and stock are decided may
not, because a partition has one writer and one set of rules (decision 0026). The choice is one
entry of the reference data, so every worker of intake follows within moments, and taking it back is
taking that entry back.

Promises: nothing starts that was not compared; the same shops are meant everywhere; who began and
ended what, when and why, is kept for good, on the topic too, so that `back` needs nothing but the
broker.
"""

from typing import NamedTuple

import msgspec

from agents.reference import Directory, is_of, reference_key
from schemas.errors import OrderflowError, Rejected
from schemas.reference import Gray, GrayEnded
from streams import reference
from streams.adapters import adapter_for
from streams.clock import now_ms
from streams.postgres.connecting import connected
from streams.postgres.queries import sql
from streams.replay import Replayed, replay, version_of
from streams.settings import Settings


class AsItIs(OrderflowError):  # noqa: N818  an answer
    """There is a trial of this platform already, or none."""


class Differs(OrderflowError):  # noqa: N818  an answer
    """The two versions do not say the same, and nobody has said that they may."""

    def __init__(self, message: str, found: Replayed) -> None:
        super().__init__(message)
        self.found = found


class Read(NamedTuple):
    """By which version orders of the platform were read since a trial began."""

    adapter: str
    orders: int


async def standing(settings: Settings) -> list[Gray]:
    """Return the trials that are on. Raises Unavailable."""
    directory = Directory()
    for key, value in (await reference.read_all(settings)).items():
        if key.startswith(reference.GRAY_KEYS):
            directory.put(key, value)
    return list(directory.grays.values())


async def of(settings: Settings, platform: str) -> Gray:
    """Return the trial of *platform*; raises AsItIs."""
    for gray in await standing(settings):
        if gray.platform == platform:
            return gray
    raise AsItIs(f"There is no trial of {platform!r}.")


async def start(
    settings: Settings,
    platform: str,
    version: int | None,
    permille: int,
    by: str,
    why: str,
    *,
    though_they_differ: bool = False,
) -> tuple[Gray, Replayed]:
    """
    Let *permille* of a thousand shops be read by *version*, after a comparison over their messages.

    Raises AsItIs, Differs, Rejected, Unavailable.
    """
    _refuse_nameless(by, why)
    newer, present = version_of(platform, version), adapter_for(platform)
    if newer.version == present.version:
        raise Rejected(f"{platform}/{present.version} is what every shop is read with.")
    if any(each.platform == platform for each in await standing(settings)):
        raise AsItIs(
            f"There is a trial of {platform!r}; `orderflow gray back {platform} --reason …` "
            "ends it."
        )
    gray = Gray(
        platform=platform, version=newer.version, permille=permille,
        since_ms=now_ms(), by=by, why=why,
    )  # fmt: skip
    found = await compare(settings, gray)
    if found.differ and not though_they_differ:
        raise Differs(
            f"{found.differ:,} of {found.messages:,} messages of those shops would be read "
            "otherwise; nothing was started. `orderflow replay --diff` shows them; where they are "
            "meant, say --differences-are-meant.",
            found,
        )
    await reference.publish(settings, {reference_key(gray): msgspec.json.encode(gray)})
    return gray, found


async def compare(settings: Settings, gray: Gray) -> Replayed:
    """Read every message of the trial's shops with both versions; send nothing."""
    return await replay(settings, gray.platform, gray.version, lambda shop: is_of(gray, shop))


async def back(settings: Settings, platform: str, by: str, why: str) -> Gray:
    """
    Let all shops be read by the present version again, and keep who said so and why.

    Raises AsItIs, Rejected, Unavailable.
    """
    _refuse_nameless(by, why)
    gray = await of(settings, platform)
    ended = GrayEnded(trial=gray, at_ms=now_ms(), by=by, why=why)
    # On record first: whoever dies between the two says it again, under the same key.
    await reference.publish(settings, {reference_key(ended): msgspec.json.encode(ended)})
    await reference.publish(settings, {reference_key(gray): None})
    return gray


async def history(settings: Settings, platform: str) -> list[GrayEnded]:
    """Return the trials of *platform* that are over, latest first. Raises Unavailable."""
    found = []
    for key, value in (await reference.read_all(settings)).items():
        if key.startswith(reference.GRAY_KEYS):
            entry = msgspec.json.decode(value, type=Gray | GrayEnded)
            if isinstance(entry, GrayEnded) and entry.trial.platform == platform:
                found.append(entry)
    return sorted(found, key=lambda each: each.trial.since_ms, reverse=True)


def _refuse_nameless(by: str, why: str) -> None:
    for name, said in (("operator", by), ("reason", why)):
        if not said.strip() or "\0" in said:
            raise Rejected(f"Give the {name}: --{name}. It stays with the trial.")


async def read_by(dsn: str, gray: Gray) -> list[Read]:
    """Return how many orders were last read by which version since the trial began."""
    async with connected(dsn, name="orderflow-gray") as connection:
        rows = await connection.fetch(sql("orders_by_adapter"), gray.platform, gray.since_ms / 1000)
    return [Read(*row) for row in rows]
