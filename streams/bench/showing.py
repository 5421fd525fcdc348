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
    to.print(f"orderflow does {cell(figures['ratio_to_faust'])} times as many.")
    to.print(
        f"At {cell(figures['latency_rate'])} commands a second a step takes "
        f"{cell(figures['latency_p50_ms'])} ms (p50), {cell(figures['latency_p99_ms'])} ms (p99), "
        f"{cell(figures['latency_max_ms'])} ms at most; the worker takes "
        f"{cell(figures['latency_cores'])} of a core."
    )
    _on(to, figures)


def _on(to: "Console", figures: Mapping[str, Any]) -> None:
    machine = figures["machine"]
    to.print(
        f"On {machine['cores']} cores of {machine['cpu']}, {machine['memory']}, "
        f"Python {machine['python']}, Kafka {machine['kafka'] or 'elsewhere'}."
    )
