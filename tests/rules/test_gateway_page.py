"""docs/gateway.md says what the code does: platforms, answers, limits, outcomes."""

import re
from pathlib import Path

from streams.gateway import idempotency, requests
from streams.gateway.signatures import ABSENT, VERIFIERS
from streams.settings import Settings
from streams.web import serving

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text()
GATEWAY = Path(requests.__file__).parent


def test_the_table_of_platforms_is_the_table_of_verifiers():
    rows = {
        cells[1].strip(" `"): (cells[2].strip(" `").lower(), cells[4])
        for line in PAGE.splitlines()
        if line.startswith("| `") and len(cells := line.split("|")) == 7
    }

    assert set(rows) == set(VERIFIERS)
    for platform, verifier in VERIFIERS.items():
        header, says = rows[platform]
        assert header == verifier.header.decode()
        assert (verifier.says.decode() or "empty") in says
    for platform in ABSENT:
        assert f"`{platform}`" in PAGE or platform == "mall"


def test_every_limit_on_the_page_is_the_one_that_holds():
    settings = Settings(kafka="nowhere:1")

    assert f"| {requests.BODY_BYTES_MAX // 2**20} MiB, else 413" in PAGE
    assert f"| {requests.HELD_BYTES_MAX // 2**20} MiB, beyond it 503" in PAGE
    assert f"| {serving.HEAD_BYTES_MAX // 1024} KiB, then 400" in PAGE
    assert f"`Retry-After: {requests.RETRY_AFTER_S}`" in PAGE
    assert f"| {serving.CONNECTIONS_MAX:,}; one more is closed" in PAGE
    assert f"SLOW_AFTER` ({settings.gateway_slow_after.seconds} s)" in PAGE
    assert f"ACK_WITHIN` ({settings.gateway_ack_within.seconds} s;" in PAGE
    assert f"for {idempotency.KEPT_FOR_S // 3600} hours" in PAGE
    assert f"{settings.gateway_host} port {settings.gateway_port}" in PAGE


def test_every_outcome_that_is_counted_stands_on_the_page():
    code = "".join(path.read_text() for path in GATEWAY.glob("*.py"))
    told = set(re.findall(r'Refused\(\s*\d{3}, "(\w+)"', code))
    told |= set(re.findall(r'(?:_not_accepted\(|return )"(\w+)"', code)) | {"gone"}

    assert len(told) > 15
    assert told == {word for word in told if f"`{word}`" in PAGE}
