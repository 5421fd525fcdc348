"""`python -m tests.bench`: the comparison from the command line; see the package."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import Misconfigured, OrderflowError, Rejected, Unavailable
from streams.cli.answers import (
    AWAY,
    BAD_INPUT,
    INTERRUPTED,
    MISCONFIGURED,
    NO,
    AsJson,
    answer,
    cell,
    examples,
    run,
    settings,
    stop,
)
from streams.cli.answers import table as shown_table
from streams.cli.benching import CLEARS_UP_WITHIN_S, NO_FIGURE
from streams.ending import unless_ended

# ruff: noqa: PLC0415  what is heavy is imported when it runs, so that --help is quick


def main(
    *,
    peers: Annotated[
        str, typer.Option("--peers", help="Names with commas between them; all, if unsaid.")
    ] = "",
    runs: Annotated[int, typer.Option("--runs", min=1, help="Rounds; the median counts.")] = 3,
    share: Annotated[
        float, typer.Option("--share", min=0.001, max=10, help="Of each peer's orders a run.")
    ] = 1.0,
    skus: Annotated[int, typer.Option("--skus", min=1, help="SKUs they are spread over.")] = 1_000,
    into: Annotated[
        Path | None, typer.Option("--into", help="Put the table into this document, at its mark.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the picture (SVG).")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say who the peers are, and end.")] = False,
    as_json: AsJson = False,
) -> None:
    """
    Reserve stock on the real stack by orderflow and by its peers, in turn.

    A figure stands only for a peer whose every run came out whole and right. Exit codes: 0 done;
    1 a peer failed or answered wrongly; 2 bad input; 75 a port is taken or something does not
    answer; 78 too little memory or wrong configuration; 130 interrupted, without a figure.
    """
    from tests.bench.comparing import Job
    from tests.bench.peers import PEERS

    chosen = _chosen(peers, PEERS)
    if list_:
        facts = [{"name": each.name, "title": each.title, "crash": each.crash} for each in chosen]
        answer(facts, as_json=as_json, words=lambda to: _list(to, facts))
        return
    figures = _figures(Job(peers=chosen, runs=runs, share=share, skus=skus))
    _write(figures, into, plot)
    answer(figures, as_json=as_json, words=lambda to: _show(to, figures))
    if figures["refused"]:
        raise typer.Exit(NO)


def _chosen(names: str, known: tuple[Any, ...]) -> tuple[Any, ...]:
    by_name = {peer.name: peer for peer in known}
    wanted = [name.strip() for name in names.split(",") if name.strip()] or list(by_name)
    if unknown := [name for name in wanted if name not in by_name]:
        raise Rejected(f"There is no peer {', '.join(unknown)}; --list says which there are.")
    return tuple(by_name[name] for name in dict.fromkeys(wanted))


def _figures(job: Any) -> dict[str, Any]:
    import asyncio

    from rich.console import Console

    from tests.bench.comparing import Tally, check, compare, prepare

    loaded, tally = settings(), Tally(job.peers)
    with Console(stderr=True).status("looking for room") as status:

        def tell(what: str) -> None:
            """What ends with a line stays; what does not is replaced."""
            if what.endswith("\n"):
                status.console.print(what.rstrip(), highlight=False, markup=False)
            else:
                status.update(what)

        check(job)
        prepare(job, tally, tell)

        async def work() -> dict[str, Any] | None:
            comparing = compare(loaded, job, tally, tell)
            return await unless_ended(comparing, asyncio.Event(), ask_again_s=CLEARS_UP_WITHIN_S)

        figures = run(work())
    if figures is None:
        stop(NO_FIGURE, INTERRUPTED)
    return figures


def _write(figures: dict[str, Any], into: Path | None, plot: Path | None) -> None:
    from tests.bench.writing import draw, put

    if (into or plot) and figures["refused"]:
        raise OrderflowError(f"Nothing is written: {', '.join(figures['refused'])} went wrong.")
    if into:
        put(figures, into)
    if plot:
        draw(figures, plot)


def _list(to: Any, facts: list[dict[str, str]]) -> None:
    shown = shown_table("", "peer", "", "after a crash")
    for each in facts:
        shown.add_row(each["name"], each["title"], each["crash"])
    to.print(shown)


def _show(to: Any, figures: dict[str, Any]) -> None:
    columns = ("#orders/s", "#orderflow/it", "#client CPU, µs", "#server CPU, µs", "#MiB")
    shown = shown_table("Reserve, peer by peer", "", *columns, "after a crash")
    for each in figures["peers"]:
        numbers = ("rate", "ratio", "client_cpu_us", "server_cpu_us", "memory_mib")
        shown.add_row(each["title"], *(cell(each[name]) for name in numbers), each["crash"])
    to.print(shown)
    for each in figures["not_measured"]:
        to.print(f"{each['title']}: no figure. {each['reason']}")


def _run() -> None:
    try:
        app()
    except OrderflowError as error:
        kinds = ((Rejected, BAD_INPUT), (Misconfigured, MISCONFIGURED), (Unavailable, AWAY))
        code = next((code for kind, code in kinds if isinstance(error, kind)), NO)
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(code)
    except KeyboardInterrupt:
        print("bench: interrupted while getting ready; there is no figure.", file=sys.stderr)
        sys.exit(INTERRUPTED)


app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
app.command(
    epilog=examples(
        "python -m tests.bench",
        "python -m tests.bench --list",
        "python -m tests.bench --peers orderflow,faust,postgres-hot-32 --runs 1 --share 0.1",
        "python -m tests.bench --into docs/benchmarks.md --plot docs/bench-peers.svg",
    )
)(main)

if __name__ == "__main__":
    _run()
