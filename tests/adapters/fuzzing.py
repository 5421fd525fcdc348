"""
`make fuzz`: the laws of `test_adapter_fuzz.py`, for some minutes a platform, seed after seed.

Exit code 0: nothing but Rejected left an adapter. 1: something did; the seed it was found with is
printed, and `ORDERFLOW_FUZZ_SEED=<seed> ORDERFLOW_FUZZ_TIMES=<times> pytest <file> -k <platform>`
shows it again.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from streams.adapters import ADAPTERS

LAWS = Path(__file__).with_name("test_adapter_fuzz.py")
#: Examples of one process, as a multiple of a usual run's.
TIMES = 10


def tried(platform: str, seed: int) -> bool:
    """Try one slice; say what came out if it is not what the laws allow."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-k", f"[{platform}]", str(LAWS)],
        env=os.environ | {"ORDERFLOW_FUZZ_SEED": str(seed), "ORDERFLOW_FUZZ_TIMES": str(TIMES)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout[-8_000:])
        print(f"{platform}: ORDERFLOW_FUZZ_SEED={seed} ORDERFLOW_FUZZ_TIMES={TIMES} shows it again")
    return done.returncode == 0


def main() -> int:
    """Fuzz every platform, or those that are named."""
    asked = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    asked.add_argument("--minutes", type=float, default=20.0, help="for each platform")
    asked.add_argument("--platform", action="append", choices=sorted(ADAPTERS), help="only this")
    asked.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = asked.parse_args()
    dice = random.Random(given.seed)
    print(f"seed {given.seed}")
    for platform in given.platform or sorted(ADAPTERS):
        until, slices = time.monotonic() + 60 * given.minutes, 0
        while slices == 0 or time.monotonic() < until:
            if not tried(platform, dice.randrange(1 << 32)):
                return 1
            slices += 1
            left = max(0.0, until - time.monotonic())
            print(
                f"{platform}: {slices} slices of {400 * TIMES:,} tries, {left:.0f} s left", end="\r"
            )
        print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
