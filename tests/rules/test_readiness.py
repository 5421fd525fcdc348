"""When a worker is ready: its partitions are assigned, recovered, none is halted, and all move."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.engine.health import not_ready

PATIENCE = timedelta(seconds=10)


def a_role(*, ready: bool = True, halted: dict[TP, str] | None = None, busy_s: float = 0) -> Any:
    return SimpleNamespace(
        name="stock",
        ready=ready,
        halted=halted or {},
        settings=SimpleNamespace(request_timeout=PATIENCE),
        rounds=SimpleNamespace(running_for=lambda: busy_s),
    )


@pytest.mark.parametrize(
    ("role", "said"),
    [
        (a_role(), []),
        (a_role(ready=False), ["stock: partitions are being assigned or recovered"]),
        (
            a_role(halted={TP("stock-commands", 3): "a letter is lost"}),
            ["stock: stock-commands/3 is halted: a letter is lost"],
        ),
        # As long as a request may take a round may well run; longer is no progress.
        (a_role(busy_s=10), []),
        (a_role(busy_s=11), ["stock: a round has been running for 11 s"]),
    ],
)
def test_a_worker_says_everything_that_keeps_it_from_being_ready(role: Any, said: list[str]):
    assert not_ready([role]) == said


def test_one_role_that_is_not_ready_is_enough():
    assert len(not_ready([a_role(), a_role(ready=False), a_role(busy_s=60)])) == 2
