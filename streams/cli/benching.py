"""The commands that measure: `orderflow bench --help` lists them."""

from typing import Annotated, Any

import typer

from streams.cli.answers import INTERRUPTED, AsJson, answer, run, settings, stop

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

#: The broker, two workers and a million rows take about this much.
_MEMORY_MIB = 2_000
#: What is ended while it runs may take so long to clear up: its processes, then its topics.
CLEARS_UP_WITHIN_S = 60.0
NO_FIGURE = "Interrupted: there is no figure, and what was started is ended."

app = typer.Typer(
    name="bench", help="Measure this installation.", no_args_is_help=True, rich_markup_mode=None
)


@app.command(
    epilog="Examples:\n\n$ orderflow bench reserve\n\n"
    "$ orderflow bench reserve --records 20000 --runs 1 --json | tail -1"
)
def reserve(
    *,
    records: Annotated[int, typer.Option("--records", min=100, help="Commands a run.")] = 200_000,
    faust_records: Annotated[
        int | None,
        typer.Option(
            "--faust-records", min=100, help="Commands a run of Faust's; a 25th if unsaid."
        ),
    ] = None,
    skus: Annotated[int, typer.Option("--skus", min=1, help="SKUs they are spread over.")] = 1_000,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs; the median counts.")] = 3,
    rate: Annotated[
        int, typer.Option("--rate", min=200, help="Commands a second while latency is taken.")
    ] = 20_000,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.5, help="How long latency is taken.")
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Hold stock: the stock keeper against an idiomatic Faust agent, on the same broker."""
    from streams.bench.reserve import Job, measure
    from streams.cli.benched import reserved

    job = Job(
        records=records,
        records_faust=faust_records or max(100, min(8_000, records)),
        skus=skus,
        runs=runs,
        rate=rate,
        seconds=seconds,
    )
    _show(lambda settings, say: measure(settings, job, say), reserved, as_json=as_json)


@app.command(epilog="Examples:\n\n$ orderflow bench hot\n\n$ orderflow bench hot --records 20000")
def hot(
    *,
    records: Annotated[int, typer.Option("--records", min=100, help="Commands a run.")] = 100_000,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs; the median counts.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Hold stock of one SKU that everybody wants, against 10,000 alike."""
    from streams.bench.hot import measure
    from streams.bench.reserve import Job
    from streams.cli.benched import crowded

    job = Job(records=records, runs=runs)
    _show(lambda settings, say: measure(settings, job, say), crowded, as_json=as_json)


@app.command(
    epilog="Examples:\n\n$ orderflow bench workers\n\n"
    "$ orderflow bench workers --workers 1 --workers 2 --records 20000 --runs 1 --json | tail -1"
)
def workers(
    *,
    workers: Annotated[
        list[int],
        typer.Option("--workers", min=1, max=16, help="How many; again for each number."),
    ] = [1, 2, 4],  # noqa: B006  Typer reads it and hands over a list of its own
    records: Annotated[int, typer.Option("--records", min=100, help="Commands a run.")] = 200_000,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs; the median counts.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Hold stock with one worker, with two and with four, on the cores that are there."""
    from streams.bench.workers import Job, measure
    from streams.cli.benched import shared

    job = Job(records=records, workers=tuple(dict.fromkeys(workers)), runs=runs)
    _show(lambda settings, say: measure(settings, job, say), shared, as_json=as_json)


@app.command(
    epilog="Examples:\n\n$ orderflow bench skus\n\n"
    "$ orderflow bench skus --skus 1000 --skus 10000 --records 20000 --runs 1 --json | tail -1"
)
def skus(
    *,
    skus: Annotated[
        list[int], typer.Option("--skus", min=1, help="How many SKUs; again for each number.")
    ] = [10_000, 100_000, 1_000_000],  # noqa: B006  Typer reads it and hands over a list of its own
    records: Annotated[int, typer.Option("--records", min=100, help="Commands a run.")] = 200_000,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs; the median counts.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Hold stock of more and more SKUs: what a hold costs, and what the worker weighs."""
    from streams.bench.skus import Job, measure
    from streams.cli.benched import grown

    job = Job(records=records, skus=tuple(dict.fromkeys(skus)), runs=runs)
    _show(lambda settings, say: measure(settings, job, say), grown, as_json=as_json)


@app.command(
    epilog="Examples:\n\n$ orderflow bench latency\n\n"
    "$ orderflow bench latency --rate 20000 --orders 0 --seconds 5 --json | tail -1"
)
def latency(
    *,
    rate: Annotated[
        list[int],
        typer.Option(
            "--rate", min=0, help="Commands a second to the keeper; again for each load, 0: none."
        ),
    ] = [2_000, 10_000, 20_000, 40_000],  # noqa: B006  Typer hands over a list of its own
    orders: Annotated[
        list[int],
        typer.Option(
            "--orders", min=0, help="Three-line orders a second; again for each load, 0: none."
        ),
    ] = [100, 300, 600, 1_000],  # noqa: B006  Typer hands over a list of its own
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.5, help="For how long, each load.")
    ] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Raise the load: how long the keeper's step takes, and the way from message to PostgreSQL."""
    from streams.bench.latency import Job, measure
    from streams.cli.benched import loaded

    job = Job(
        rates=tuple(dict.fromkeys(filter(None, rate))),
        orders=tuple(dict.fromkeys(filter(None, orders))),
        seconds=seconds,
    )
    _show(lambda settings, say: measure(settings, job, say), loaded, as_json=as_json)


@app.command(
    epilog="Examples:\n\n$ orderflow bench flow\n\n$ orderflow bench flow --saturate\n\n"
    "$ orderflow bench flow --rate 300 --burst 100000"
)
def flow(
    *,
    rate: Annotated[int, typer.Option("--rate", min=1, help="Three-line orders a second.")] = 1_000,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="For how long.")] = 30.0,
    saturate: Annotated[
        bool, typer.Option("--saturate", help="Drain a backlog instead, as fast as it goes.")
    ] = False,
    backlog: Annotated[
        int, typer.Option("--backlog", min=100, help="Orders that wait, with --saturate.")
    ] = 60_000,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Worker processes of each kind.")
    ] = 1,
    burst: Annotated[
        int, typer.Option("--burst", min=0, help="Messages nobody can read, among the orders.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Take orders all the way: from the raw message to the row in PostgreSQL."""
    from streams.bench.flow import Job, measure
    from streams.cli.benched import flowed

    job = Job(
        rate=rate,
        seconds=seconds,
        backlog=backlog if saturate else 0,
        workers=workers,
        burst=burst,
    )
    _show(lambda settings, say: measure(settings, job, say), flowed, as_json=as_json)


@app.command(
    epilog="Examples:\n\n$ orderflow bench recovery\n\n"
    "$ orderflow bench recovery --rows 1000000 --orders 100000\n\n"
    "$ orderflow bench recovery --writes 10000000 --minutes 30 --json | tail -1"
)
def recovery(
    *,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Rows of stock.")] = 1_000_000,
    orders: Annotated[
        int, typer.Option("--orders", min=0, help="Open orders beside them, for the memory.")
    ] = 0,
    writes: Annotated[
        int, typer.Option("--writes", min=0, help="Measure after so many writes of these rows.")
    ] = 0,
    minutes: Annotated[
        float, typer.Option("--minutes", min=1, help="The time that the writes are spread over.")
    ] = 30.0,
    clean: Annotated[
        float, typer.Option("--clean", min=0, help="Seconds for the broker to clean its log.")
    ] = 60.0,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Starts; the median counts.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Start from nothing: how soon a keeper has its rows back, and what they weigh."""
    from streams.bench.recovery import Job, measure
    from streams.bench.writes import Writes
    from streams.bench.writes import measure as after_writes
    from streams.cli.benched import read_again, recovered

    if writes:
        job = Writes(rows=rows, writes=writes, minutes=minutes, runs=runs, clean_s=clean)
        _show(lambda its, say: after_writes(its, job, say), read_again, as_json=as_json)
        return
    rows_alone = Job(rows=rows, orders=orders, runs=runs)
    _show(lambda its, say: measure(its, rows_alone, say), recovered, as_json=as_json)


@app.command(
    epilog="Examples:\n\n$ orderflow bench expiry\n\n"
    "$ orderflow bench expiry --holds 2000 --over 2 --json | tail -1"
)
def expiry(
    *,
    holds: Annotated[int, typer.Option("--holds", min=1, help="Open holds.")] = 100_000,
    over: Annotated[
        float, typer.Option("--over", min=0.5, help="Seconds from the first deadline to the last.")
    ] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Let holds run out: how soon each is released, also after a restart, and how many a second."""
    from streams.bench.expiry import Job, measure
    from streams.cli.benched import expired

    job = Job(holds=holds, over_s=over)
    _show(lambda settings, say: measure(settings, job, say), expired, as_json=as_json)


@app.command(
    epilog="Examples:\n\n$ orderflow bench gateway\n\n"
    "$ orderflow bench gateway --rate 500 --seconds 5 --runs 1 --json | tail -1"
)
def gateway(
    *,
    rate: Annotated[int, typer.Option("--rate", min=1, help="Webhooks a second.")] = 2_000,
    seconds: Annotated[float, typer.Option("--seconds", min=0.5, help="For how long.")] = 15.0,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs; the median counts.")] = 3,
    connections: Annotated[
        int, typer.Option("--connections", min=1, max=1_000, help="Open at the same time.")
    ] = 64,
    as_json: AsJson = False,
) -> None:
    """Acknowledge webhooks: the gateway against a bare Starlette handler that only answers."""
    from streams.bench.gateway import Job, measure
    from streams.cli.benched import acknowledged

    job = Job(rate=rate, seconds=seconds, runs=runs, connections=connections)
    _show(lambda settings, say: measure(settings, job, say), acknowledged, as_json=as_json)


@app.command(
    epilog="Examples:\n\n$ orderflow bench intake\n\n"
    "$ orderflow bench intake --orders 500 --runs 5 --json | tail -1"
)
def intake(
    *,
    orders: Annotated[
        int, typer.Option("--orders", min=1, help="Three-line orders of each platform.")
    ] = 2_000,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs; the best counts.")] = 15,
    as_json: AsJson = False,
) -> None:
    """Read orders: what one costs before it reaches the broker. Needs no stack."""
    from streams.bench.intake import measure
    from streams.cli.benched import taken_in

    figures = measure(orders, runs)
    answer(figures, as_json=as_json, words=lambda to: taken_in(to, figures))


@app.command(
    epilog="Examples:\n\n$ orderflow bench availability\n\n"
    "$ orderflow bench availability --seconds 3 --json | tail -1"
)
def availability(
    *,
    skus: Annotated[int, typer.Option("--skus", min=200, help="SKUs in the cache.")] = 10_000,
    seconds: Annotated[int, typer.Option("--seconds", min=1, help="How long, each load.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Ask what is left to sell: 2,000 requests/s of 5 SKUs, then 300 of 200 SKUs."""
    from streams.bench.availability import Job, measure
    from streams.cli.benched import answered

    job = Job(skus=skus, seconds=seconds)
    _show(lambda settings, say: measure(settings, job, say), answered, as_json=as_json)


@app.command(
    epilog="Examples:\n\n$ orderflow bench join\n\n"
    "$ orderflow bench join --rate 2000 --seconds 30 --json | tail -1"
)
def join(
    *,
    rate: Annotated[int, typer.Option("--rate", min=100, help="Commands a second.")] = 10_000,
    seconds: Annotated[float, typer.Option("--seconds", min=9, help="A third each.")] = 45.0,
    as_json: AsJson = False,
) -> None:
    """Let a second worker join under load, and go: how long a partition stands still."""
    from streams.bench.join import Job, measure
    from streams.cli.benched import joined

    job = Job(rate=rate, seconds=seconds)
    _show(lambda settings, say: measure(settings, job, say), joined, as_json=as_json)


@app.command(
    "import",
    epilog="Examples:\n\n$ orderflow bench import\n\n"
    "$ orderflow bench import --rows 2000 --xlsx --json | tail -1",
)
def import_(
    *,
    rows: Annotated[int, typer.Option("--rows", min=1, max=200_000, help="Rows.")] = 100_000,
    xlsx: Annotated[bool, typer.Option("--xlsx", help="A spreadsheet instead of CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Import a file: from the command to the receipt, through every role to PostgreSQL."""
    from streams.bench.importing import Job, measure
    from streams.cli.benched import imported

    job = Job(rows=rows, xlsx=xlsx)
    _show(lambda settings, say: measure(settings, job, say), imported, as_json=as_json)


@app.command(
    epilog="Examples:\n\n$ orderflow bench pages\n\n"
    "$ orderflow bench pages --orders 20000 --asks 10 --json | tail -1"
)
def pages(
    *,
    orders: Annotated[
        int, typer.Option("--orders", min=100, max=5_000_000, help="Orders of three lines.")
    ] = 1_000_000,
    asks: Annotated[int, typer.Option("--asks", min=2, help="Times each page is asked for.")] = 40,
    as_json: AsJson = False,
) -> None:
    """
    Look at pages: how soon the console shows each over a season of orders, and by which plans.

    Exits with 1 where a page reads a big table from one end to the other.
    """
    from streams.bench.pages import Job, measure
    from streams.cli.benched import looked_at

    job = Job(orders=orders, asks=asks)
    figures = _show(lambda settings, say: measure(settings, job, say), looked_at, as_json=as_json)
    if figures["scans"]:
        raise typer.Exit(1)


@app.command(
    epilog="Examples:\n\n$ orderflow bench live\n\n"
    "$ orderflow bench live --pages 40 --rate 20 --json | tail -1"
)
def live(
    *,
    pages: Annotated[
        int, typer.Option("--pages", min=1, max=1_500, help="Open pages, each of an order.")
    ] = 500,
    rate: Annotated[float, typer.Option("--rate", min=0.1, help="Messages a second.")] = 20.0,
    as_json: AsJson = False,
) -> None:
    """Keep pages open: how soon each is told of what a platform says of its order."""
    from streams.bench.live import Job, measure
    from streams.cli.benched import told

    job = Job(pages=pages, rate=rate)
    _show(lambda settings, say: measure(settings, job, say), told, as_json=as_json)


@app.command(
    epilog="Examples:\n\n$ orderflow bench figures\n\n"
    "$ orderflow bench figures --busiest 5000 --orders 500 --days 3 --json | tail -1"
)
def figures(
    *,
    busiest: Annotated[int, typer.Option("--busiest", min=100, help="Orders of the last day.")] = (
        1_000_000
    ),
    orders: Annotated[
        int, typer.Option("--orders", min=1, help="Orders of each day before it.")
    ] = 100_000,
    days: Annotated[int, typer.Option("--days", min=1, max=30, help="Days before it.")] = 24,
    lines: Annotated[int, typer.Option("--lines", min=1, help="Lines of each order.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Ask the dashboards, and make the daily report, at 10 million order lines."""
    from streams.bench.figures import Job, measure
    from streams.cli.benched import figured

    job = Job(busiest=busiest, orders=orders, days=days, lines=lines)
    _show(lambda settings, say: measure(settings, job, say), figured, as_json=as_json)


def _show(measure: Any, words: Any, *, as_json: bool) -> dict[str, Any]:
    import asyncio

    from rich.console import Console

    from streams.ending import unless_ended
    from streams.processes import enough_memory

    loaded = settings()
    enough_memory(_MEMORY_MIB)
    with Console(stderr=True).status("measuring") as status:

        async def work() -> dict[str, Any] | None:
            measuring = measure(loaded, status.update)
            return await unless_ended(measuring, asyncio.Event(), ask_again_s=CLEARS_UP_WITHIN_S)

        figures = run(work())
    if figures is None:
        stop(NO_FIGURE, INTERRUPTED)
    answer(figures, as_json=as_json, words=lambda to: words(to, figures))
    return figures
