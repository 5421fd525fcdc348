"""Figures as tables for people."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from streams.cli.answers import cell, table

if TYPE_CHECKING:
    from rich.console import Console


def reserved(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench reserve`."""
    sides = table("Reserve, from a backlog", "", "#orderflow", "#Faust")
    for name, said in (
        ("records", "commands a run"),
        ("rate", "outcomes a second"),
        ("client_cpu_us", "worker CPU, µs each"),
        ("broker_cpu_us", "broker CPU, µs each"),
        ("memory_mib", "worker memory, MiB"),
    ):
        sides.add_row(said, cell(figures[name]), cell(figures[f"{name}_faust"]))
    to.print(sides)
    to.print(
        f"orderflow does {cell(figures['ratio_to_faust'])} times as many, each for "
        f"1/{cell(figures['cpu_ratio_to_faust'])} of the worker's CPU."
    )
    to.print(
        f"At {cell(figures['latency_rate'])} commands a second a step takes "
        f"{cell(figures['latency_p50_ms'])} ms (p50), {cell(figures['latency_p99_ms'])} ms (p99), "
        f"{cell(figures['latency_max_ms'])} ms at most; the worker takes "
        f"{cell(figures['latency_cores'])} of a core."
    )
    _on(to, figures)


def flowed(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench flow`."""
    shown = table("From raw message to PostgreSQL", "", "#figure")
    for name, said in (
        ("orders", "three-line orders"),
        ("rate", "orders a second"),
        ("row_p50_ms", "to the first row, p50 ms"),
        ("row_p99_ms", "to the first row, p99 ms"),
        ("verdict_p50_ms", "to the verdict, p50 ms"),
        ("verdict_p99_ms", "to the verdict, p99 ms"),
        ("workers_cpu_us", "workers' CPU, µs an order"),
        ("broker_cpu_us", "broker's CPU, µs an order"),
        ("machine_cpu_us", "the machine's CPU, µs an order"),
        ("memory_mib", "largest worker, MiB"),
    ):
        if name in figures:
            shown.add_row(said, cell(figures[name]))
    to.print(shown)
    _on(to, figures)


def recovered(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench recovery`."""
    to.print(
        f"{cell(figures['rows'])} rows are back in {figures['recovery_s']:.2f} s "
        f"({cell(figures['rows_per_s'])} a second), from snapshots in "
        f"{figures['from_snapshots_s']:.2f} s; the worker is ready {figures['ready_s']:.2f} s "
        f"after its start and has {cell(figures['memory_mib'])} MiB "
        f"({cell(figures['peak_mib'])} at most)."
    )
    if "open_orders" in figures:
        to.print(
            f"With {cell(figures['open_orders'])} open orders and {cell(figures['open_holds'])} "
            f"holds, both keepers in one worker: {figures['both_recovery_s']:.2f} s, "
            f"{cell(figures['both_memory_mib'])} MiB ({cell(figures['both_peak_mib'])} at most)."
        )
    _on(to, figures)


def taken_in(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench intake`."""
    shown = table("A three-line order before the broker", "", "#bytes", "#parse, µs", "#intake, µs")
    for name, found in figures["platforms"].items():
        shown.add_row(
            name,
            cell(round(found["bytes"])),
            cell(found["parse_us"]),
            cell(found["intake_us"]),
        )
    to.print(shown)
    to.print(
        f"On average {cell(figures['intake_us'])} µs an order: "
        f"{cell(round(figures['rate']))} orders a second on one core."
    )
    machine = figures["machine"]
    to.print(f"On {machine['cores']} cores of {machine['cpu']}, Python {machine['python']}.")


def _on(to: "Console", figures: Mapping[str, Any]) -> None:
    machine = figures["machine"]
    to.print(
        f"On {machine['cores']} cores of {machine['cpu']}, {machine['memory']}, "
        f"Python {machine['python']}, Kafka {machine['kafka'] or 'elsewhere'}."
    )
