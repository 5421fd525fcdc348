"""The command that says what a load needs."""

from typing import Annotated

import typer

from streams.cli.answers import AsJson, answer, examples

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        "capacity",
        epilog=examples(
            "orderflow capacity",
            "orderflow capacity --orders 20000 --partitions 96",
            "orderflow capacity --orders 600000 --skew 0.9 --json",
        ),
        rich_help_panel="Look",
    )(capacity)


def capacity(
    *,
    orders: Annotated[
        list[int] | None,
        typer.Option("--orders", min=1, help="Three-line orders a second; may be repeated."),
    ] = None,
    partitions: Annotated[int, typer.Option("--partitions", min=1, max=256)] = 256,
    skew: Annotated[
        float, typer.Option("--skew", min=0, max=2, help="Zipf's exponent of what is sold.")
    ] = 0.6,
    as_json: AsJson = False,
) -> None:
    """Say how many workers, brokers and disks a load needs, and how a failure goes there."""
    from streams.capacity import ASKED, Load, needs, told

    loads = [
        Load(orders=each, partitions=partitions, skew=skew)
        for each in orders or [load.orders for load in ASKED]
    ]
    answer(
        {
            "ok": True,
            "loads": [
                {"orders": each.orders, "needs": [need._asdict() for need in needs(each)]}
                for each in loads
            ],
        },
        as_json=as_json,
        words=lambda to: to.print(told(loads), end="", markup=False, soft_wrap=True),
    )
