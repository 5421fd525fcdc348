"""Commands of a gray release: some shops are read by another version."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.answers import (
    NO,
    AsJson,
    answer,
    cell,
    examples,
    refuse,
    run,
    settings,
    table,
)
from streams.cli.operating import Operator, Reason, who
from streams.cli.running import share
from streams.postgres.addresses import reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from rich.console import Console

    from streams.replay import Replayed

gray = typer.Typer(
    help="Let some shops be read by another version of their platform's adapter.",
    epilog=examples(
        "orderflow gray start taobao --adapter-version 2 --share 10% --reason 'refund words'",
        "orderflow gray status",
        "orderflow gray compare taobao",
        "orderflow gray back taobao --reason 'no difference that was not meant'",
        "orderflow gray history taobao",
    ),
    no_args_is_help=True,
)
Platform = Annotated[str, typer.Argument(help="Such as taobao.", metavar="PLATFORM")]
_SHOWN = 20


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(gray, name="gray", rich_help_panel="Operate")


@gray.command(
    "start",
    epilog=examples("orderflow gray start taobao --share 10% --reason 'new refund words'"),
)
def start(
    platform: Platform,
    *,
    reason: Reason,
    version: Annotated[
        int | None,
        typer.Option("--adapter-version", min=1, help="Which version; the newest if not given."),
    ] = None,
    of_shops: Annotated[
        str, typer.Option("--share", metavar="SHARE", help="How many of the shops.")
    ] = "10%",
    meant: Annotated[
        bool, typer.Option("--differences-are-meant", help="Start although they differ.")
    ] = False,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Compare over what those shops have said, then let the version read what they say."""
    from schemas.errors import Rejected
    from streams import gray as trials

    permille = round(share(of_shops) * 1000)
    if not permille:
        raise Rejected("Of no shop at all: --share begins at 0.1%.")
    try:
        made, found = run(
            trials.start(
                settings(), platform, version, permille, who(operator), reason,
                though_they_differ=meant,
            )
        )  # fmt: skip
    except trials.AsItIs as error:
        refuse({"ok": False, "platform": platform}, str(error), as_json=as_json)
    except trials.Differs as error:
        refuse({"ok": False, **_facts(error.found)}, str(error), as_json=as_json)
    answer(
        {"ok": True, "version": made.version, "permille": made.permille, **_facts(found)},
        as_json=as_json,
        words=lambda to: to.print(
            f"{made.permille / 10:g} % of {platform}'s shops are read by {platform}/{made.version} "
            f"from now on. `orderflow gray back {platform} --reason …` ends it.",
            markup=False,
        ),
    )


@gray.command("status", epilog=examples("orderflow gray status", "orderflow gray status --json"))
def status(*, as_json: AsJson = False) -> None:
    """Show the trials that are on, and by which version orders were read since."""
    from streams import gray as trials

    loaded = settings()
    shown = table("Trials", "platform", "version", "#share, %", "by", "why", "orders read by")
    facts: list[dict[str, Any]] = []
    for each in run(trials.standing(loaded)):
        read = run(trials.read_by(reader_of(loaded), each))
        facts.append(
            {
                "platform": each.platform, "version": each.version, "permille": each.permille,
                "since_ms": each.since_ms, "by": each.by, "why": each.why,
                "read_by": {one.adapter: one.orders for one in read},
            }
        )  # fmt: skip
        counted = ", ".join(f"{one.adapter}: {one.orders:,}" for one in read)
        shown.add_row(
            each.platform, str(each.version), f"{each.permille / 10:g}", cell(each.by),
            cell(each.why), cell(counted),
        )  # fmt: skip
    answer(
        {"ok": True, "trials": facts},
        as_json=as_json,
        words=lambda to: to.print(shown if facts else "No trial is on."),
    )


@gray.command("compare", epilog=examples("orderflow gray compare taobao --json | tail -1"))
def compare(platform: Platform, *, as_json: AsJson = False) -> None:
    """Read all messages of the trial's shops with both versions; exit code 1 where they differ."""
    from streams import gray as trials

    loaded = settings()
    try:
        found = run(trials.compare(loaded, run(trials.of(loaded, platform))))
    except trials.AsItIs as error:
        refuse({"ok": False, "platform": platform}, str(error), as_json=as_json)
    answer(
        {"ok": not found.differ, **_facts(found)},
        as_json=as_json,
        words=lambda to: _show(to, found),
    )
    if found.differ:
        raise typer.Exit(NO)


@gray.command(
    "back", epilog=examples("orderflow gray back taobao --reason 'refund words were right before'")
)
def back(
    platform: Platform, *, reason: Reason, operator: Operator = None, as_json: AsJson = False
) -> None:
    """Let every shop be read by the present version again, from now on."""
    from streams import gray as trials

    try:
        gone = run(trials.back(settings(), platform, who(operator), reason))
    except trials.AsItIs as error:
        refuse({"ok": False, "platform": platform}, str(error), as_json=as_json)
    answer(
        {"ok": True, "platform": platform, "version": gone.version},
        as_json=as_json,
        words=lambda to: to.print(
            f"Every shop of {platform} is read by the present version again.", markup=False
        ),
    )


@gray.command(
    "history",
    epilog=examples("orderflow gray history taobao", "orderflow gray history taobao --json"),
)
def history(platform: Platform, *, as_json: AsJson = False) -> None:
    """Tell who tried which version and who ended it, when and why."""
    from msgspec import to_builtins

    from streams import gray as trials
    from streams.clock import at

    found = run(trials.history(settings(), platform))
    if not found:
        refuse(
            {"ok": False, "trials": []},
            f"No trial of {platform} has ended; `orderflow gray status` shows what is on.",
            as_json=as_json,
        )
    shown = table(
        "Trials that ended", "#version", "#share, %", "began (UTC)", "by: why", "ended (UTC)",
        "by: why",
    )  # fmt: skip
    for each in found:
        trial = each.trial
        shown.add_row(
            str(trial.version), f"{trial.permille / 10:g}", cell(at(trial.since_ms)),
            f"{trial.by}: {trial.why}", cell(at(each.at_ms)), f"{each.by}: {each.why}",
        )  # fmt: skip
    answer(
        {"ok": True, "trials": [to_builtins(each) for each in found]},
        as_json=as_json,
        words=lambda to: to.print(shown),
    )


def _facts(found: "Replayed") -> dict[str, Any]:
    return {**found._asdict(), "differences": found.differences[:_SHOWN]}


def _show(to: "Console", found: "Replayed") -> None:
    shown = table("What differs", "order", "field", "now", "then", "raw message")
    for each in found.differences[:_SHOWN]:
        shown.add_row(cell(each.order), each.field, cell(each.now), cell(each.then), each.place)
    if found.differences:
        to.print(shown)
    to.print(f"{found.messages:,} messages: {found.same:,} the same, {found.differ:,} differ.")
