"""
The batteries that a seeded bug is planted under, and what each says of it.

A battery runs from the planted copy, in a process of its own. The real stack is the one of this
checkout: the copy knows its addresses and nothing else of it, so that a plan which stops or starts
servers skips that from there; the plans named here need none.
"""

import json
import os
import subprocess
import sys
from functools import singledispatch
from pathlib import Path
from typing import Any, NamedTuple

from tests.mutants.table import ROOT, Chaos, Mutant, Simulation, Tests, planted

#: A bug that so many towns do not show is not caught.
WITHIN_SEEDS = 100
#: A planted plan, or planted tests, have ended by then, s.
WITHIN_S = 900
STACK = Path(".local") / "stack.env"


class Verdict(NamedTuple):
    """What turned red first."""

    #: An invariant, or a test.
    by: str
    #: Which town, which plan with which seed.
    where: str
    what: str


class NoStackError(RuntimeError):
    """The real stack is not there: `make up`."""


def found(mutant: Mutant, folder: Path, *, known: bool = False) -> Verdict | None:
    """
    Return what its battery says of *mutant*, planted in the empty *folder*; None: nothing.

    *known* begins with the town that is known to show it. Raises NoStackError.
    """
    return _tried(mutant.battery, mutant, planted(mutant, folder), known)


@singledispatch
def _tried(battery: object, _mutant: Mutant, _tree: Path, _known: bool) -> Verdict | None:
    raise TypeError(f"{battery!r} is no battery")


@_tried.register
def _(battery: Simulation, _mutant: Mutant, tree: Path, known: bool) -> Verdict | None:
    done = _run(
        tree, "-m", "tests.simulation", "--from", str(battery.town if known else 0),
        "--seeds", str(WITHIN_SEEDS), "--jobs", "1", "--stop-at", "1", "--json",
        PYTHONHASHSEED="0",  # with another one it would begin anew, all imports again
    )  # fmt: skip
    said = _last_line(done, "the simulation")
    if not said["failed"]:
        return None
    seed, invariant, what = said["failed"][0]
    return Verdict(invariant, f"town {seed}", what)


@_tried.register
def _(battery: Chaos, mutant: Mutant, tree: Path, _known: bool) -> Verdict | None:
    _know_the_stack(tree)
    done = _run(
        tree, "-m", "streams.cli", "chaos", "--plan", battery.plan, "--seed", str(battery.seed),
        "--orders", str(battery.orders), "--json",
    )  # fmt: skip
    (part,) = _last_line(done, "chaos")["parts"]
    if part["ok"]:
        return None
    red = _red(part)
    by = next((each for each in red if each in mutant.red), red[0] if red else "something else")
    where = f"`--plan {battery.plan} --seed {battery.seed}`"
    return Verdict(by, where, "; ".join(part["against"]))


@_tried.register
def _(battery: Tests, mutant: Mutant, tree: Path, _known: bool) -> Verdict | None:
    if battery.stack:
        _know_the_stack(tree)
    done = _run(
        tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--force-reruns", "0", "-rf",
        *battery.names,
    )  # fmt: skip
    if done.returncode == 0:
        return None
    failed = [
        line.split(" - ")[0].removeprefix("FAILED ").strip()
        for line in done.stdout.splitlines()
        if line.startswith("FAILED ")
    ]
    if done.returncode != 1 or not failed:
        raise AssertionError(f"the tests do not run: {done.stdout}{done.stderr}")
    red = [test for test in failed if test.startswith(mutant.red)]
    test = (red or failed)[0].partition("[")[0]
    return Verdict(test, f"{len(failed)} failed", "\n".join(failed))


def is_red(mutant: Mutant, verdict: Verdict) -> bool:
    """Say whether *mutant* was caught by what it breaks, and not by something else."""
    return verdict.by.startswith(mutant.red)


def _red(part: dict[str, Any]) -> list[str]:
    """Return what is violated: invariants, and what chaos itself looks at."""
    invariants = part["check"]["invariants"].items()
    red = [id_ for id_, found in invariants if found["violations"]]
    twice = part["calm"] and (part["repeats"] or part["foreign_writes"])
    return [*red, *(["repeats"] if twice else [])]


def _know_the_stack(tree: Path) -> None:
    if not (ROOT / STACK).exists():
        raise NoStackError
    (tree / STACK).parent.mkdir()
    (tree / STACK).symlink_to(ROOT / STACK)


def _run(tree: Path, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    known = ROOT / STACK
    lines = known.read_text("utf-8").splitlines() if known.exists() else []
    told = dict(line.partition("=")[::2] for line in lines)
    return subprocess.run(
        [sys.executable, *words],
        cwd=tree,
        env=told | os.environ | env | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )


def _last_line(done: "subprocess.CompletedProcess[str]", what: str) -> dict[str, Any]:
    if done.returncode not in (0, 1) or not done.stdout:
        raise AssertionError(f"{what} does not run: {done.stderr[-4_000:]}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said
