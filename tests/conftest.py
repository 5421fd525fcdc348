"""
How tests share one stack, when two files run at a time.

Promises. A test marked `alone` takes away what the others use, such as the broker: it runs while no
other module is in the middle of its tests. A test on the real stack that fails is tried once more,
and the run says so; a test of rules or flows is not: there is nothing in it that chance could move.
"""

import fcntl
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from _pytest.terminal import TerminalReporter

LOCAL = Path(__file__).resolve().parents[1] / ".local"
#: The rooms whose tests use processes, servers and time.
REAL = ("integration", "e2e", "chaos", "browser")


class Turns:
    """
    Who may use the stack: many modules with others, or one alone.

    Whoever wants it alone waits at the turnstile and lets nobody else in meanwhile, so that two
    modules that relieve each other cannot keep it out for ever.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._turnstile, self._stack = folder / "tests-turnstile", folder / "tests-stack"
        self._held = ExitStack()
        self._module: object = None

    def enter(self, item: pytest.Item) -> None:
        """Take the stack for *item*; a module that shares it keeps it from test to test."""
        alone = item.get_closest_marker("alone") is not None
        if not alone and self._module is _module(item):
            return
        self.leave()
        with ExitStack() as turnstile:
            _lock(self._turnstile, turnstile, fcntl.LOCK_EX)
            _lock(self._stack, self._held, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        self._module = None if alone else _module(item)

    def leave(self) -> None:
        """Give the stack back."""
        self._held.close()
        self._module = None


def _lock(file: Path, until: ExitStack, how: int) -> None:
    fcntl.flock(until.enter_context(file.open("w")), how)


def _module(item: pytest.Item) -> object:
    return item.getparent(pytest.Module)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Hold the stack around a test with its fixtures, also those of its module."""
    if item.get_closest_marker("stack") is None:
        return (yield)
    turns = item.config.stash[_TURNS]
    turns.enter(item)
    try:
        return (yield)
    finally:
        if nextitem is None or _module(nextitem) is not _module(item):
            turns.leave()


_TURNS = pytest.StashKey[Turns]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the locks known to the hooks."""
    config.stash[_TURNS] = Turns(LOCAL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests on the real stack be tried once more, and begin with what waits longest."""
    sizes = Counter(item.path for item in items)
    items.sort(key=lambda item: _turn(item.path, sizes[item.path]))
    for item in items:
        if item.path.parent.name in REAL:
            item.add_marker(pytest.mark.flaky(reruns=1))


def _turn(file: Path, tests: int) -> tuple[int, int, str]:
    """
    Return when the turn of *file* comes: files that wait for processes, then chaos, then rules.

    Rules need no stack, so they fill the cores while a test of chaos has the stack alone, and are
    small enough that the workers end together.
    """
    room = file.parent.name
    return (0 if room not in REAL else -1 if room == "chaos" else -2), -tests, str(file)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say in full why a test had to be tried again: chance in a test is a fault to be found."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"failed once: {report.nodeid}", sep="-")
        terminalreporter.line(report.longreprtext)
