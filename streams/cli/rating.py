"""Commands about exchange rates and tax rates: taken from files, looked up by day."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.answers import (
    BAD_INPUT,
    AsJson,
    answer,
    cell,
    console,
    examples,
    print_json,
    refuse,
    run,
    settings,
    stop,
    table,
)
from streams.cli.operating import Operator, who
from streams.postgres.addresses import reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from datetime import date

    from streams.rates import Kind
    from streams.turnover import Line, Sum

rates = typer.Typer(
    help="Exchange rates by day.",
    epilog=examples("orderflow rates import rates.csv --why 'bank, November'"),
    no_args_is_help=True,
)
taxes = typer.Typer(
    help="Tax rates by country and region.",
    epilog=examples("orderflow taxes import taxes.csv --why 'reform'"),
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(help="CSV in UTF-8.", metavar="FILE.csv")]
Why = Annotated[str, typer.Option("--why", help="Where they are from; it stays with them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Judge every row, and write none.")]
On = Annotated[str, typer.Option("--on", help="The day, such as 2026-11-11.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(rates, name="rates", rich_help_panel="Operate")
    app.add_typer(taxes, name="taxes", rich_help_panel="Operate")


@rates.command(
    "import",
    epilog=examples("orderflow rates import rates.csv --why bank   (columns base,quote,day,rate)"),
)
def import_rates(
    file: File,
    *,
    why: Why,
    operator: Operator = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take exchange rates: one unit of base is so many of quote on that day."""
    from streams.rates import EXCHANGE

    _import(file, EXCHANGE, why, operator, dry_run=dry_run, as_json=as_json)


@taxes.command(
    "import",
    epilog=examples(
        "orderflow taxes import taxes.csv --why reform   (columns country,region,kind,since,rate)"
    ),
)
def import_taxes(
    file: File,
    *,
    why: Why,
    operator: Operator = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take tax rates: 0.19 is 19 %; an empty region is all of the country."""
    from streams.rates import TAX

    _import(file, TAX, why, operator, dry_run=dry_run, as_json=as_json)


@rates.command("show", epilog=examples("orderflow rates show USD CNY --on 2026-11-11"))
def show_rate(
    base: Annotated[str, typer.Argument(help="Of one unit of this currency.")],
    quote: Annotated[str, typer.Argument(help="In this one.")],
    *,
    on: On,
    as_json: AsJson = False,
) -> None:
    """Show the rate of a day, or of the last day before it."""
    from streams import rates as data

    found = run(data.exchange_on(reader_of(settings()), base, quote, _day(on)))
    missing = f"Nobody said what {base} was in {quote} within {data.DAYS_MAX} days before {on}."
    _tell(found, missing, as_json=as_json)


@taxes.command("show", epilog=examples("orderflow taxes show DE --on 2026-11-11"))
def show_tax(
    country: Annotated[str, typer.Argument(help="Two capitals, such as DE.")],
    region: Annotated[str, typer.Argument(help="Its region, where that may differ.")] = "",
    *,
    on: On,
    kind: Annotated[str, typer.Option("--kind", help="Such as reduced.")] = "standard",
    as_json: AsJson = False,
) -> None:
    """Show the tax rate of a region on a day, else that of its country."""
    from streams import rates as data

    found = run(data.tax_on(reader_of(settings()), country, region, kind, _day(on)))
    _tell(found, f"Nobody said the {kind} tax of {country} as of {on}.", as_json=as_json)


@rates.command(
    "orders",
    epilog=examples(
        "orderflow rates orders --from 2026-11-01 --until 2026-11-30",
        "orderflow rates orders --from 2026-11-11 --until 2026-11-11 --in EUR --zone Europe/Berlin "
        "--csv orders.csv",
    ),
)
def convert_orders(
    *,
    first: Annotated[str, typer.Option("--from", help="Placed on this day or later.")],
    last: Annotated[str, typer.Option("--until", help="And on this day or before it.")],
    into: Annotated[str, typer.Option("--in", help="The company's currency.")] = "CNY",
    zone: Annotated[str, typer.Option("--zone", help="Whose days.")] = "Asia/Shanghai",
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write every order, with its rate and its tax.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what orders come to in one currency, each by the rate of its day, and their taxes."""
    from streams import turnover
    from streams.adapters.currencies import DIGITS

    if into not in DIGITS:
        stop(f"--in {into!r} is no currency of ISO 4217.", BAD_INPUT)
    days = _day(first, "--from"), _day(last, "--until")
    if days[0] > days[1]:
        stop("--from is after --until.", BAD_INPUT)
    here = _zone(zone)
    lines = run(turnover.read(reader_of(settings()), into, *days, here))
    if csv is not None:
        _write_orders(csv, lines)
    found = turnover.sums(lines)
    left_out = sum(each.left_out for each in found)
    facts = {
        "ok": not left_out, "in": into, "orders": len(lines), "left_out": left_out,
        "sums": found,
    }  # fmt: skip
    if as_json:
        print_json(facts)
    else:
        _show_sums(found, into)
    if left_out:
        stop(
            f"{left_out:,} of {len(lines):,} orders have no amount in {into}: nobody said the rate "
            "of their day, or the platform said no total; `orderflow rates import` takes rates."
        )


def _zone(said: str) -> str:
    from zoneinfo import available_timezones

    if said not in available_timezones():
        stop(f"--zone {said!r} is no zone such as Asia/Shanghai.", BAD_INPUT)
    return said


def _show_sums(found: "list[Sum]", into: str) -> None:
    from decimal import Decimal

    from streams.adapters.currencies import DIGITS

    def amount(minor: int, currency: str) -> str:
        return f"{Decimal(minor).scaleb(-DIGITS.get(currency, 0)):,f}"

    shown = table("Orders", "status", "currency", "#orders", "#total", f"#in {into}", "#left out")
    for each in found:
        shown.add_row(
            each.status or "-", each.currency or "-", cell(each.orders),
            amount(each.total, each.currency), amount(each.total_in_company, into),
            cell(each.left_out),
        )  # fmt: skip
    console().print(shown)


def _write_orders(file: Path, lines: "list[Line]") -> None:
    import csv

    from streams.turnover import Line

    try:
        with file.open("w", encoding="utf-8-sig", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(Line._fields)
            writer.writerows(lines)
    except OSError as error:
        stop(f"{file}: {error.strerror}.", BAD_INPUT)


def _day(said: str, option: str = "--on") -> "date":
    from datetime import date

    try:
        return date.fromisoformat(said)
    except ValueError:
        stop(f"{option} {said!r} is no day such as 2026-11-11.", BAD_INPUT)


def _tell(found: dict[str, Any] | None, missing: str, *, as_json: bool) -> None:
    if found is None:
        refuse({"ok": False, "rate": None}, missing, as_json=as_json)
    facts = {**found, "rate": format(found["rate"].normalize(), "f")}
    said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if value)
    answer({"ok": True, **facts}, as_json=as_json, words=lambda to: to.print(said))


def _import(
    file: Path, kind: "Kind", why: str, operator: str | None, *, dry_run: bool, as_json: bool
) -> None:
    from streams import rates as data
    from streams.postgres.addresses import ledger_of

    values, verdicts = data.read(file, kind)
    refused = [each for each in verdicts if each.outcome == "refused"]
    facts = {
        "ok": not refused,
        "written": not refused and not dry_run,
        "rows": len(verdicts),
        "verdicts": verdicts,
    }
    if refused:
        refuse(
            facts,
            f"Nothing was written: {len(refused):,} of {len(verdicts):,} rows are refused; the "
            f"first: line {refused[0].line}: {refused[0].said}.",
            as_json=as_json,
        )
    loaded = settings()
    if not dry_run:
        run(data.write(ledger_of(loaded), kind, values, who(operator), why))
    word = "would be taken" if dry_run else "taken"
    answer(facts, as_json=as_json, words=lambda to: to.print(f"{len(values):,} rows {word}."))
