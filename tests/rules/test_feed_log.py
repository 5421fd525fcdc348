"""What the sender was promised over HTTP, against what stands on the raw topic."""

from hashlib import sha256
from typing import Any

import pytest

from streams.check.feedlog import FeedLog
from streams.check.report import Claims, Finding, Place
from tests.simulation import Record

TOPIC = "raw-orders-shopify"


def a_push(payload: bytes, vain: int = 0) -> dict[str, Any]:
    digest = sha256(payload).hexdigest()[:16]
    return {"topic": TOPIC, "digest": digest, "answer": 200, "vain": vain}


def judged(lines: list[dict[str, Any]], stored: list[bytes]) -> Finding:
    claims = Claims()
    log = FeedLog(claims)
    for line in lines:
        log.add(line, TOPIC)
    for offset, payload in enumerate(stored):
        log.raw(Record(offset, 0, b"key", payload), Place(TOPIC, 0, offset))
    log.close()
    return claims["feed"].close()


@pytest.mark.parametrize(
    ("lines", "stored", "holds"),
    [
        # Each 2xx has its record.
        ([a_push(b"a"), a_push(b"b")], [b"b", b"a"], True),
        # A 2xx without one.
        ([a_push(b"a"), a_push(b"b")], [b"a"], False),
        # Pushed twice, answered twice, stored once.
        ([a_push(b"a"), a_push(b"a")], [b"a"], False),
        # A try that had no answer may have left a record, or none.
        ([a_push(b"a", vain=1)], [b"a", b"a"], True),
        ([a_push(b"a", vain=1)], [b"a"], True),
        # More records than tries.
        ([a_push(b"a", vain=1)], [b"a", b"a", b"a"], False),
        # What nobody was promised is somebody else's.
        ([a_push(b"a")], [b"a", b"other", b"other"], True),
    ],
)
def test_every_2xx_has_its_record_and_no_try_has_two(
    lines: list[dict[str, Any]], stored: list[bytes], holds: bool
) -> None:
    assert (judged(lines, stored).violations == 0) is holds


def test_what_was_pushed_again_is_counted() -> None:
    figures = judged([a_push(b"a", vain=2), a_push(b"b")], [b"a", b"a", b"b"]).figures

    assert (figures["answered_2xx"], figures["answered_otherwise"]) == (2, 2)
    assert figures["pushed_again"] == 1
