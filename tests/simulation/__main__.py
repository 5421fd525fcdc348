"""
Runs towns from the command line: many seeds, or one again.

    python -m tests.simulation --seeds 300             # seeds 0 to 299, on all cores
    python -m tests.simulation --seeds 5000 --from 300
    python -m tests.simulation --seed 4711 --trace     # one seed again, fault by fault

Exit code 0: every invariant held. 1: one did not; its seed is printed, with how to see it again.
2: bad input.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from typing import NamedTuple

from tests.simulation.town import FAULTS, SAID, Figures, Town, Violation

HASH_SEED = "0"
#: Seeds that one process lives through before it is asked for its findings.
CHUNK = 10
#: How often a long run says how far it is.
TELL_EVERY_S = 2


class Failure(NamedTuple):
    """A town in which an invariant does not hold."""

    seed: int
    invariant: str
    what: str


def lived(seed: int, said: int, faults: int) -> Figures | Failure:
    """Live through one seed."""
    try:
        return Town(seed, said, faults).run()
    except Violation as violation:
        return Failure(seed, violation.invariant, str(violation))
    except Exception as error:  # noqa: BLE001  whatever it is, its seed has to be told
        return Failure(seed, "BUG", repr(error))


def _chunk(seeds: range, said: int, faults: int) -> list[Figures | Failure]:
    return [lived(seed, said, faults) for seed in seeds]


def _all(seeds: range, said: int, faults: int, jobs: int) -> Iterator[Figures | Failure]:
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    if jobs == 1 or len(chunks) == 1:
        for chunk in chunks:
            yield from _chunk(chunk, said, faults)
        return
    with ProcessPoolExecutor(jobs) as pool:
        for found in pool.map(_chunk, chunks, [said] * len(chunks), [faults] * len(chunks)):
            yield from found


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, help="live through this one only")
    parser.add_argument("--seeds", type=int, default=300, help="so many (%(default)s)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="beginning with this one")
    parser.add_argument(
        "--said", type=int, default=SAID, help="things said in a town (%(default)s)"
    )
    parser.add_argument("--faults", type=int, default=FAULTS, help="faults in a town (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--stop-at", type=int, default=10, help="end after so many failures")
    parser.add_argument("--trace", action="store_true", help="with --seed: tell what happens")
    parser.add_argument("--json", action="store_true", help="one line of JSON at the end")
    args = parser.parse_args()
    if min(args.seeds, args.said, args.jobs, args.stop_at) < 1 or min(args.first, args.faults) < 0:
        parser.error("numbers of seeds, things said and processes begin at 1, others at 0")
    return args


def _with_its_hash_seed() -> None:
    """Begin anew where the order of sets is not the seed's: the engine goes over partitions."""
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | {"PYTHONHASHSEED": HASH_SEED})  # noqa: S606  ourselves


class _Progress:
    """Counts what was lived through, and tells every other second how far it is."""

    def __init__(self, seeds: int) -> None:
        self.sums: Counter[str] = Counter()
        self.failed: list[Failure] = []
        self._seeds = seeds
        self._began = self._told = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return round(time.monotonic() - self._began, 1)

    def take(self, found: Figures | Failure) -> None:
        """Take note of one town."""
        self.sums["seeds"] += 1
        if isinstance(found, Figures):
            numbers = asdict(found)
            self.sums.update(numbers.pop("faults"))
            del numbers["seed"]
            self.sums.update(numbers)
        else:
            self.failed.append(found)
            print(f"seed {found.seed} is violated: {found.what}", file=sys.stderr)
        if time.monotonic() - self._told > TELL_EVERY_S:
            self._told = time.monotonic()
            print(
                f"{self.sums['seeds']} of {self._seeds} seeds, {self.sums['records']} records, "
                f"{len(self.failed)} failed, {self.seconds:.0f} s",
                file=sys.stderr,
            )

    def close(self, *, as_json: bool) -> None:
        """Say what was found, and how to see it again."""
        commit = _commit()
        for failure in self.failed:
            print(
                f"again: python -m tests.simulation --seed {failure.seed} --trace   # at {commit}"
            )
        if as_json:
            more = {"failed": self.failed, "commit": commit, "seconds": self.seconds}
            print(json.dumps(dict(self.sums) | more))
            return
        del self.sums["print"]
        figures = ", ".join(f"{name} {count}" for name, count in self.sums.items())
        print(f"{figures}; {len(self.failed)} failed; {self.seconds} s at {commit}")


def main() -> int:
    """Run what was asked for; return the exit code."""
    args = _arguments()
    _with_its_hash_seed()
    if args.seed is not None and args.trace:
        print(Town(args.seed, args.said, args.faults, trace=print).run())
        return 0
    first, count = (args.first, args.seeds) if args.seed is None else (args.seed, 1)
    progress = _Progress(count)
    towns = _all(range(first, first + count), args.said, args.faults, args.jobs)
    for found in towns:
        progress.take(found)
        if len(progress.failed) >= args.stop_at:
            break
    progress.close(as_json=args.json)
    return 1 if progress.failed else 0


if __name__ == "__main__":
    sys.exit(main())
