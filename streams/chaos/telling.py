"""What a run of chaos says: its faults, the invariants, and the one word that counts."""

from collections.abc import Iterator
from typing import Any

from streams.chaos.watching import told


def lines(outcome: dict[str, Any]) -> Iterator[str]:
    """Yield the outcome of one part, as lines for a person."""
    yield from outcome["verdict"]
    fed = outcome["fed"]
    counted = ", ".join(f"{name} {count:,}" for name, count in fed["counts"].items())
    yield f"{fed['messages']:,} messages about {outcome['orders']:,} orders: {counted}."
    answers = ", ".join(f"{said} {count:,}" for said, count in sorted(outcome["answers"].items()))
    yield f"Pushes to the gateway, by what they were answered: {answers}."
    for name, line in outcome["lines"].items():
        yield (
            f"Line to {name}: {line['bytes'] / 2**20:,.1f} MiB, {line['cut']} cut, "
            f"{line['resets']} reset."
        )
    yield from told(outcome["footprints"])
    calm = "no worker had a reason to repeat" if outcome["calm"] else "workers had reason to"
    yield (
        f"{outcome['repeats']:,} letters came twice, {outcome['foreign_writes']:,} writes were "
        f"foreign; {calm}."
    )
    struck = [each for each in outcome["faults"] if each["outcome"] == "struck"]
    tried = len(outcome["faults"])
    yield f"{len(struck)} of {tried} faults struck, {outcome['restarts']} restarts."
    for each in outcome["faults"]:
        if each["outcome"] != "struck":
            yield f"  {each['outcome']}: {each['said']}"
    yield ""
    word = "EVERYTHING HOLDS" if outcome["ok"] else "NOT EVERYTHING HOLDS"
    yield (
        f"{word}: {outcome['part']}, seed {outcome['seed']}, commit {outcome['commit']}, "
        f"{outcome['seconds']:.0f} s."
    )
    yield from (f"  {why}" for why in outcome["against"])
