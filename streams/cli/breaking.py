"""The command that breaks the house on purpose: `orderflow chaos`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from streams.cli.answers import (
    INTERRUPTED,
    NO,
    AsJson,
    answer,
    console,
    examples,
    print_json,
    run,
    settings,
    stop,
)

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "chaos",
        epilog=examples(
            "make chaos",
            "orderflow chaos --plan slice --seed 7",
            "orderflow chaos --plan broker-kill,stop-30 --orders 5000",
            "orderflow chaos --plan deep --results deep.jsonl   (goes on where it was left)",
            "orderflow chaos --plan deep --seed 7 --part 3 --part 4   (others have the rest)",
            "orderflow chaos --plan soak --for 1440",
            "orderflow chaos --list",
        ),
        rich_help_panel="Run",
    )(chaos)


def chaos(
    *,
    plan: Annotated[
        str, typer.Option("--plan", help="slice, whole, deep, soak, or faults with commas.")
    ] = "whole",
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Play that run again; else one is drawn.")
    ] = None,
    only: Annotated[
        list[int] | None,
        typer.Option("--part", min=1, help="This part of the plan; again for each. Else all."),
    ] = None,
    orders: Annotated[
        int | None, typer.Option("--orders", min=100, help="So many in each part of the plan.")
    ] = None,
    minutes: Annotated[
        float, typer.Option("--for", min=1, help="How long a soak lasts, minutes.")
    ] = 60,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results", help="Add outcomes here; parts that are well there are left out."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="Keep topics and database to look around in.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Say which faults there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """
    Break the whole house under load, by a seeded plan, and count everything afterwards.

    Breaks only servers that `make up` started and workers of its own. Exit code 1: something does
    not hold, or a fault did not hit.
    """
    from streams.chaos.faults import FAULTS

    if list_:
        facts = {name: fault.does for name, fault in FAULTS.items()}
        answer(facts, as_json=as_json, words=lambda to: _list(to, facts))
        return
    import secrets

    from streams.chaos import plans

    drawn = secrets.randbelow(1 << 30) if seed is None else seed
    parts = plans.chosen(plans.parts(plan, drawn, minutes * 60), only or ())
    outcomes = _played(parts, orders, results, keep=keep, as_json=as_json)
    ok = all(each["ok"] for each in outcomes)
    if as_json:
        print_json({"ok": ok, "plan": plan, "seed": drawn, "parts": outcomes})
    if not ok:
        raise typer.Exit(NO)


def _list(to: Any, facts: dict[str, str]) -> None:
    for name, does in facts.items():
        to.print(f"{name:<24}{does}")


def _played(
    parts: Any, orders: int | None, results: Path | None, *, keep: bool, as_json: bool
) -> list[dict[str, Any]]:
    from rich.console import Console

    from streams.chaos import act, telling
    from streams.processes import enough_memory

    loaded = settings()
    enough_memory(act.MEMORY_MIB)
    to = (
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        if as_json
        else console()
    )
    done = act.known(results) if results else set()
    outcomes = []
    for part in parts:
        faults = tuple(step.fault for step in part.steps)
        if (part.name, part.seed, act.commit(), faults) in done:
            to.print(f"{part.name}, seed {part.seed}: done before, and well.")
            continue
        to.print(f"{part.name}, seed {part.seed}, commit {act.commit()}, {part.seconds:.0f} s.")
        outcome = run(act.play_unless_ended(loaded, part, orders=orders, keep=keep, say=to.print))
        if outcome is None:
            stop("Interrupted: there is no verdict, and what was started is ended.", INTERRUPTED)
        for line in telling.lines(outcome):
            to.print(line)
        if results:
            act.remember(results, outcome)
        outcomes.append(outcome)
    return outcomes
