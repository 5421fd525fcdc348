"""
Measurements: `orderflow bench reserve`, `bench flow`, `bench recovery`.

Each brings its own topics (and database) on the stack that is there, measures by the clock of the
broker or the database, reads everything back, and leaves nothing behind. docs/benchmarks.md says
what is compared and what the figures were.
"""

from typing import Annotated, Any

import typer

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

app = typer.Typer(
    name="bench", help="Measure this installation.", no_args_is_help=True, rich_markup_mode=None
)

AsJson = Annotated[
    bool, typer.Option("--json", help="End with one JSON object on the last line of stdout.")
]


@app.command(
    epilog="Examples:\n\n$ orderflow bench reserve\n\n"
    "$ orderflow bench reserve --records 20000 --runs 1 --json | tail -1"
)
def reserve(
    *,
    records: Annotated[int, typer.Option("--records", min=100, help="Commands a run.")] = 200_000,
    faust_records: Annotated[
        int | None,
        typer.Option("--faust-records", min=100, help="Commands a run of Faust's; a 25th if unsaid."),
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
    from streams.bench.showing import reserved

    job = Job(
        records=records,
        records_faust=faust_records or max(100, min(8_000, records)),
        skus=skus,
        runs=runs,
        rate=rate,
        seconds=seconds,
    )
    _show(lambda settings, say: measure(settings, job, say), reserved, as_json=as_json)


def _show(measure: Any, words: Any, *, as_json: bool) -> None:
    from rich.console import Console

    from streams.cli.answers import answer, run, settings

    loaded = settings()
    with Console(stderr=True).status("measuring") as status:
        figures = run(measure(loaded, status.update))
    answer(figures, as_json=as_json, words=lambda to: words(to, figures))
