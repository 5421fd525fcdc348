"""What a run of chaos says: its faults, the invariants, and the one word that counts."""

from collections.abc import Iterator
from typing import Any

from streams.footprints import told

#: Faults that a row names one by one.
NAMED_MAX = 8


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
    yield outcome["row"]


def row(outcome: dict[str, Any]) -> str:
    """Return the outcome of one part as a row of the table in docs/proof.md."""
    faults = outcome["faults"]
    names = (
        f"all {len(faults)}"
        if len(faults) > NAMED_MAX
        else ", ".join(each["fault"] for each in faults)
    )
    missed = [each["fault"] for each in faults if each["outcome"] != "struck"]
    if missed:
        names += f"; did not strike: {', '.join(missed)}"
    fed, answers = outcome["fed"], outcome["answers"]
    load = (
        f"{outcome['orders']:,} orders, {fed['messages']:,} messages, "
        f"{outcome['poison']:,} poison; "
        f"{answers.get('200', 0):,} of {sum(answers.values()):,} pushes had 2xx; "
        f"{outcome['check']['records']:,} records"
    )
    rest = "never" if outcome["rest_s"] is None else f"{outcome['rest_s']:.0f} s"
    verdict = "every invariant holds" if outcome["ok"] else "; ".join(outcome["against"])
    cells = (
        f"{outcome['seed']}, {outcome['commit']}", f"{outcome['part']}: {names}", load,
        str(outcome["restarts"]), rest,
        f"{verdict}; {outcome['repeats']:,} letters came twice; {outcome['seconds'] / 60:.0f} min",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"
