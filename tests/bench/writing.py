"""The comparison as a table of Markdown between two marks, and as a picture (SVG)."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from schemas.errors import Rejected

_MARKS = re.compile(r"(<!-- make bench -->\n).*?(<!-- end -->)", re.DOTALL)
_HEAD = (
    "| peer | orders/s | orderflow is | CPU of client, µs | of server, µs | CPU against orderflow "
    "| an outcome is counted when it is | after a crash |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)
#: A process that fell over has its last words in its reason; a table has room for a sentence.
_REASON_MAX = 200
#: The picture, in its own units.
_WIDTH, _LEFT, _RIGHT, _BAR, _STEP, _TOP, _FOOT = 960, 320, 190, 18, 28, 56, 36
_OURS, _THEIRS, _INK, _FAINT = "#1f6f8b", "#b8c4cc", "#1b1f23", "#d7dde2"


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures as Markdown, ended by a line break."""
    lines = [_said(figures), "", _HEAD, *(_row(each) for each in figures["peers"])]
    for each in figures["not_measured"]:
        reason = " ".join(each["reason"].replace("|", "/").split())[:_REASON_MAX]
        lines.append(f"| {each['title']} | not measured: {reason} | | | | | | |")
    # A table of some of them does not look like one of all.
    lines += [f"| {title} | left out of this run | | | | | | |" for title in figures["left_out"]]
    of = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    return "\n".join([*lines, "", f"Versions: {of}."]) + "\n"


def _said(figures: Mapping[str, Any]) -> str:
    on = figures["machine"]
    said = (
        f"{figures['at']}, commit {figures['commit']}; {on['cores']} cores of {on['cpu']}, "
        f"{on['memory']}, Python {on['python']}, Apache Kafka {on['kafka']}, a load of "
        f"{figures['load']} when it began. Medians of {figures['runs']} interleaved runs, "
        f"{figures['skus']:,} SKUs, {figures['partitions']} partitions."
    )
    if figures["load"] > on["cores"]:
        said += (
            " **Others were at work on this machine:** the rates are not to be relied on, and of "
            "the ratios those of the CPU first."
        )
    return said


def _row(each: Mapping[str, Any]) -> str:
    rate = f"{each['rate']:,} ({min(each['rates']):,}–{max(each['rates']):,})"
    cells = (
        each["title"],
        rate,
        f"**{_number(each['ratio'])}** times as fast" if each["ratio"] else "–",
        _number(each["client_cpu_us"]),
        _number(each["server_cpu_us"]),
        f"{_number(each['cpu_ratio'])} times" if each["cpu_ratio"] else "–",
        each["kept"],
        each["crash"],
    )
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def put(figures: Mapping[str, Any], document: Path) -> None:
    """Write the table into *document*, between its marks; raises Rejected where it has none."""
    text = document.read_text()
    said, found = _MARKS.subn(lambda marks: f"{marks[1]}{table(figures)}{marks[2]}", text)
    if found != 1:
        raise Rejected(f"{document} needs one pair of <!-- make bench --> and <!-- end -->.")
    document.write_text(said)


def draw(figures: Mapping[str, Any], picture: Path) -> None:
    """Draw a bar for each rate, on a logarithmic scale, the fastest first."""
    picture.write_text(svg(figures["peers"]))


def svg(peers: Sequence[Mapping[str, Any]]) -> str:
    """Return the picture."""
    ordered = sorted(peers, key=lambda each: -each["rate"])
    height = _TOP + _STEP * len(ordered) + _FOOT
    lowest = 10 ** math.floor(math.log10(min(each["rate"] for each in ordered)))
    highest = 10 ** math.ceil(math.log10(max(each["rate"] for each in ordered) + 1))
    said = "Reservations a second (logarithmic), and how many times that is what orderflow does"
    bars = [
        line
        for nth, each in enumerate(ordered)
        for line in _bar(each, _TOP + _STEP * nth, lowest, highest)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img">\n'
        "<title>Reservations a second, by peer</title>\n"
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n'
        + "\n".join([_text(16, 24, said), *_scale(lowest, highest, height), *bars])
        + "\n</svg>\n"
    )


def _scale(lowest: float, highest: float, height: int) -> Iterator[str]:
    for power in range(round(math.log10(lowest)), round(math.log10(highest)) + 1):
        x = _LEFT + _length(10**power, lowest, highest)
        yield f'<path d="M{x:.1f} {_TOP - 8}V{height - _FOOT}" stroke="{_FAINT}"/>'
        yield _text(x, height - _FOOT + 18, f"{10**power:,}", anchor="middle")


def _bar(each: Mapping[str, Any], y: float, lowest: float, highest: float) -> Iterator[str]:
    length = _length(each["rate"], lowest, highest)
    colour = _OURS if each["name"].startswith("orderflow") else _THEIRS
    times = f"  ×{_number(1 / each['ratio'])}" if each["ratio"] else ""
    yield _text(_LEFT - 8, y + 14, each["title"], anchor="end")
    yield f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>'
    yield _text(_LEFT + length + 6, y + 14, f"{each['rate']:,}{times}")


def _length(rate: float, lowest: float, highest: float) -> float:
    share = math.log10(rate / lowest) / math.log10(highest / lowest)
    return max(1.0, share * (_WIDTH - _LEFT - _RIGHT))


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}">{escape(words)}</text>'
    )
