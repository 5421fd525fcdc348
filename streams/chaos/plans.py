"""
Plans: which faults, in which order, with which pauses. Promise: a plan is a function of its name
and a seed, so whoever has both can play it again.

`slice` takes one fault of each kind, other ones with every seed: short enough for every run of the
tests. `whole` has every fault once. `deep` is `whole` over and over, each part with a seed of its
own. `soak` draws faults at random for as long as one likes.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from schemas.errors import Rejected
from streams.chaos.faults import FAULTS

#: Calm before each fault, s.
_CALM_S = (1.0, 3.0)
#: Parts of `deep`; each is at most a quarter of an hour of faults.
DEEP_PARTS = 8
#: The seeds of a deep run's parts lie so far apart.
_PART_APART = 1_000_003

#: One fault of each line, for a run that must be short.
_SLICE = (
    ("kill", "kill-keepers", "keeper-before-letters", "keeper-mid-batch", "keeper-after-letters",
     "keeper-after-changelog", "intake-before-ack", "intake-after-ack", "gateway-before-ack",
     "gateway-after-ack"),
    ("stop-9",),
    ("broker-kill", "broker-away-6", "kafka-reset", "sends-cut"),
    ("postgres-restart", "postgres-kill", "ledger-before-commit", "ledger-after-commit",
     "postgres-reset", "redis-emptied"),
)  # fmt: skip

SOAK = "soak"
PLANS = ("slice", "whole", "deep", SOAK)


class UnknownPlan(Rejected):
    """There is no such plan or fault."""


class Step(NamedTuple):
    """One fault of a plan."""

    fault: str
    #: What passes before it, s.
    calm_s: float


class Part(NamedTuple):
    """What is played in one go: faults, and the seed of everything in it."""

    name: str
    seed: int
    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float:
        """About how long it takes, s."""
        return sum(FAULTS[step.fault].seconds + step.calm_s for step in self.steps)


def parts(plan: str, seed: int, soak_s: float = 0.0) -> list[Part]:
    """
    Return what *plan* plays, part by part.

    *plan* is one of `PLANS`, or faults by name with commas between them. *soak_s* is the length of
    a soak. Raises UnknownPlan.
    """
    match plan:
        case "slice":
            dice = Random(seed)  # noqa: S311  a plan is repeated by its seed; nothing is secret
            return [_part("slice", seed, [dice.choice(kind) for kind in _SLICE])]
        case "whole":
            return [_part("whole", seed, _shuffled(seed))]
        case "deep":
            seeds = [seed + nth * _PART_APART for nth in range(DEEP_PARTS)]
            return [_part(f"deep-{n}", one, _shuffled(one)) for n, one in enumerate(seeds, 1)]
        case "soak":
            return [_part(SOAK, seed, list(_drawn(seed, soak_s)))]
    names = [name.strip() for name in plan.split(",") if name.strip()]
    if unknown := [name for name in names if name not in FAULTS]:
        raise UnknownPlan(
            f"There is no plan and no fault {', '.join(unknown)}; choose one of "
            f"{', '.join(PLANS)}, or faults that `orderflow chaos --list` names."
        )
    if not names:
        raise UnknownPlan(f"Name a plan, one of {', '.join(PLANS)}, or faults.")
    return [_part("chosen", seed, names)]


def chosen(parts: Sequence[Part], numbers: Sequence[int]) -> list[Part]:
    """Return those of *parts* that *numbers* name, from 1 on; all where there are none."""
    if missing := [number for number in numbers if number > len(parts)]:
        raise UnknownPlan(f"There is no part {missing[0]}; this plan has {len(parts)}.")
    return [part for nth, part in enumerate(parts, 1) if not numbers or nth in numbers]


def _part(name: str, seed: int, faults: list[str]) -> Part:
    dice = Random(seed)  # noqa: S311  a plan is repeated by its seed; nothing is secret
    return Part(name, seed, tuple(Step(fault, dice.uniform(*_CALM_S)) for fault in faults))


def _shuffled(seed: int) -> list[str]:
    faults = sorted(FAULTS)
    Random(seed).shuffle(faults)  # noqa: S311  as above
    return faults


def _drawn(seed: int, soak_s: float) -> Iterator[str]:
    dice, left_s = Random(seed), soak_s  # noqa: S311  as above
    faults = sorted(FAULTS)
    while left_s > 0:
        fault = dice.choice(faults)
        left_s -= FAULTS[fault].seconds + sum(_CALM_S) / 2
        yield fault
