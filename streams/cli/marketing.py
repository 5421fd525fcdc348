"""The command that shows what is usual in a market."""

from typing import Annotated

import typer

from streams.cli.answers import BAD_INPUT, AsJson, answer, console, examples, stop, table

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        "markets",
        epilog=examples("orderflow markets", "orderflow markets jp --json"),
        rich_help_panel="Look",
    )(markets)


def markets(
    code: Annotated[str | None, typer.Argument(help="Such as jp; all if not given.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show the template of a market: zone, language, currency, tax, encodings."""
    from streams.markets import MARKETS

    if code is not None and code not in MARKETS:
        stop(f"There is no market {code!r}; there are {', '.join(MARKETS)}.", BAD_INPUT)
    found = {name: each for name, each in MARKETS.items() if code in (None, name)}
    facts = {name: {**each._asdict(), "zone": each.zone} for name, each in found.items()}
    if as_json:
        answer({"ok": True, "markets": facts}, as_json=True, words=lambda _: None)
        return
    shown = table("Markets", "code", "name", "zone", "language", "currency", "tax", "encodings")
    for name, each in found.items():
        shown.add_row(
            name, each.name, each.zone or f"one of {len(each.zones)}", each.language, each.currency,
            f"{each.tax_country}, {'in' if each.prices_with_tax else 'on top of'} the price",
            ", ".join(each.encodings),
        )  # fmt: skip
    console().print(shown)
