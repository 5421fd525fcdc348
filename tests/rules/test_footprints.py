"""How memory and files are told to grow, by what was seen of processes that do not live long."""

import os

from streams import footprints
from streams.footprints import Footprints, Look, slope

MIB_AN_HOUR = 36.0


def a_life(pid: int, begins_s: float, seconds: int, mib: float, grows: float) -> list[Look]:
    """Looks at one process, every 5 s, that began with *mib* and *grows* so many MiB an hour."""
    return [
        Look("keeper", pid, begins_s + at, mib + grows * at / 3600, 20)
        for at in range(0, seconds + 1, 5)
    ]


def test_a_slope_is_that_of_each_process_whatever_the_next_one_begins_with() -> None:
    """Three processes one after the other, each fatter at its birth: that is no leak."""
    lives = [a_life(n, 1000.0 * n, 300, 100 + 50 * n, MIB_AN_HOUR) for n in range(3)]

    found = slope("keeper", [look for life in lives for look in life])

    assert found.mib_an_hour == MIB_AN_HOUR
    assert found.files_an_hour == 0
    assert (found.processes, found.seen_s, found.resident_mib_max) == (3, 900, 203.0)


def test_nothing_is_said_of_what_was_seen_too_shortly() -> None:
    found = slope("keeper", a_life(1, 0.0, 60, 100, MIB_AN_HOUR))

    assert found.mib_an_hour is None
    assert found.files_an_hour is None


def test_a_process_is_looked_at_once_it_is_warm() -> None:
    seen_of = Footprints(lambda: [("keeper", os.getpid())])
    for now_s in (0.0, footprints.WARM_AFTER_S - 1, footprints.WARM_AFTER_S):
        seen_of.look(now_s)

    (seen,) = seen_of.looks
    assert seen.files > 2
    assert 1 < seen.resident_mib < 10_000
