"""The command that proves the ledger: nothing was changed, nothing is missing, it adds up."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.answers import NO, AsJson, answer, examples, run, settings
from streams.postgres.addresses import reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from streams.reconciling.verifying import Verdict

ledger = typer.Typer(
    help="The append-only trail of stock.",
    epilog=examples("orderflow ledger verify"),
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(ledger, name="ledger", rich_help_panel="Look")


@ledger.command(
    "verify",
    epilog=examples(
        "orderflow ledger verify",
        "orderflow ledger verify --sku BASKET-L --json",
    ),
)
def verify(
    *,
    sku: Annotated[str | None, typer.Option("--sku", help="Of this SKU alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check chain, versions and sums of every entry; name the first bad one."""
    from rich.console import Console

    from streams.reconciling.verifying import verify as verify_all

    terminal = Console(stderr=True)
    with terminal.status("reading the ledger") as status:
        verdict = run(
            verify_all(
                reader_of(settings()),
                sku,
                lambda entries, at: status.update(f"{entries:,} entries, at {at}"),
            )
        )
    answer(_facts(verdict), as_json=as_json, words=lambda to: to.print(_words(verdict)))
    if verdict.bad:
        raise typer.Exit(NO)


def _facts(verdict: "Verdict") -> dict[str, Any]:
    first = verdict.first
    return {
        "ok": not verdict.bad,
        "entries": verdict.entries,
        "skus": verdict.skus,
        "bad": verdict.bad,
        "corrected": verdict.corrected,
        "seconds": round(verdict.seconds, 3),
        "first": first and first._asdict(),
    }


def _words(verdict: "Verdict") -> str:
    counted = f"{verdict.entries:,} entries of {verdict.skus:,} SKUs in {verdict.seconds:.1f} s"
    if verdict.corrected:
        counted += f"; {verdict.corrected} set right by a person, with a reason"
    first = verdict.first
    if first is None:
        return f"The ledger is whole: {counted}."
    return (
        f"{verdict.bad} of {counted} do not follow. The first is {first.sku} version "
        f"{first.version}: {first.what}.\n  expected {first.expected}\n  found    {first.found}\n"
        "See 'A drift is reported' in docs/runbook.md."
    )
