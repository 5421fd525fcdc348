"""Commands about epochs of a keeper's letters: show where they stand, start the next one."""

from typing import Annotated

import typer

from streams.cli.answers import (
    AsJson,
    answer,
    console,
    examples,
    run,
    settings,
    table,
)
from streams.cli.operating import Operator, Reason, who

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

epoch = typer.Typer(
    help="Epochs of the keepers' letters: numbers begin at 1 in each.",
    epilog=examples(
        "orderflow epoch show",
        "orderflow epoch start stock --reason 'table rebuilt' --operator mei",
    ),
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(epoch, name="epoch", rich_help_panel="Operate")


@epoch.command("show", epilog=examples("orderflow epoch show", "orderflow epoch show --json"))
def show(*, as_json: AsJson = False) -> None:
    """Show the epoch of every keeper's partition, as the changelogs have it."""
    from streams import epochs

    found = run(epochs.standings(settings()))
    if as_json:
        answer({"ok": True, "keepers": found}, as_json=True, words=lambda _: None)
        return
    shown = table("Epochs", "keeper", "#partition", "#present", "#heard", "#announced")
    for keeper, each in found.items():
        for partition, standing in enumerate(each):
            shown.add_row(keeper, str(partition), *map(str, standing))
    console().print(shown)
    console().print("heard, announced: what the other keepers know of it.")


@epoch.command(
    "start",
    epilog=examples(
        "orderflow epoch start stock --reason 'table rebuilt from its inbox'",
        "orderflow epoch start orders --reason 'rules changed' --operator mei --epoch 3",
    ),
)
def start(
    keeper: Annotated[str, typer.Argument(help="orders or stock.", metavar="KEEPER")],
    *,
    reason: Reason,
    operator: Operator = None,
    number: Annotated[
        int | None,
        typer.Option("--epoch", help="Which epoch; the next one where it is not given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Announce a keeper's next epoch to all who hear it, then to itself, which begins it."""
    from streams import epochs

    wish = epochs.wished(keeper, number, reason, who(operator))
    started = run(epochs.start(settings(), wish))
    answer(
        {"ok": True, **started._asdict()},
        as_json=as_json,
        words=lambda to: to.print(
            f"Announced epoch {started.epoch} of {keeper} on {started.announcements} lanes, then "
            f"in its {started.partitions} inboxes. Each partition begins it when it reads that "
            "far; `orderflow epoch show` says which have."
        ),
    )
