"""The gateway as a process: the broker or Redis away, signals, and files that are wrong."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from streams.settings import Settings
from tests.integration.at_the_gate import (
    ACKS,
    MALL_KEY,
    SHOPS,
    Gate,
    a_gate,
    a_prefix,
    environment,
    pushes,
    records,
    shopify,
    shops_file,
    stack_settings,
    topics,
)
from tests.integration.conftest import ROOT

pytestmark = pytest.mark.stack

HOOK = "/v1/webhooks/shopify/jsmith"
ORDER = b'{"platform_order_id":"M-1","status":"PAID","created_at":"2026-06-01T00:00:00Z"}'
BY_KEY = {"Authorization": f"Bearer {MALL_KEY}"}


def ask(
    gate: Gate, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str]]:
    request = urllib.request.Request(gate.url + path, data=body, headers=dict(headers or {}))  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}


def nobody() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return f"127.0.0.1:{port}"


def test_without_a_broker_nothing_is_acknowledged_but_probes(tmp_path: Path):
    settings = stack_settings(a_prefix()).model_copy(update={"kafka": nobody()})
    probe = b"webhook_id=7"

    with a_gate(settings, shops_file(tmp_path), tmp_path / "log") as gate:
        for platform in ACKS:
            shop, body, headers, _ = pushes()[platform]
            status, said = ask(gate, f"/v1/webhooks/{platform}/{shop}", body, headers)
            assert (status, said["retry-after"]) == (503, "5"), platform
        status, said = ask(gate, "/v1/orders", ORDER, BY_KEY)
        assert (status, said["retry-after"]) == (503, "5")
        # What was not taken did not use up its key either.
        for _ in range(2):
            assert ask(gate, "/v1/orders", ORDER, BY_KEY | {"Idempotency-Key": "k"})[0] == 503
        # A wrong signature is a wrong signature, broker or not.
        assert ask(gate, HOOK, b"{}", {})[0] == 401
        assert ask(gate, "/v1/webhooks/woocommerce/corner", probe)[0] == 200
        assert ask(gate, "/healthz")[0] == 200
        assert ask(gate, "/readyz")[0] == 503
        assert gate.end() == 0


def test_a_broker_that_never_answers_does_not_hold_the_door(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings(kafka=f"127.0.0.1:{silent.getsockname()[1]}")
        with a_gate(settings, shops_file(tmp_path), tmp_path / "log") as gate:
            began = time.monotonic()
            assert ask(gate, HOOK, b"{}", shopify(b"{}"))[0] == 503
            assert time.monotonic() - began < 5
            assert gate.end() == 0


@pytest.mark.chaos
@pytest.mark.alone
def test_a_broker_lost_while_serving_is_met_with_503_and_all_that_was_acknowledged_is_there(
    tmp_path: Path,
):
    settings = stack_settings(a_prefix(), gateway_ack_within=timedelta(seconds=1))
    acknowledged = []

    def push(gate: Gate, number: int) -> int:
        body = b'{"id":%d}' % number
        status, said = ask(gate, HOOK, body, shopify(body))
        if status == 200:
            acknowledged.append(body)
        else:
            assert (status, said["retry-after"]) == (503, "5")
        return status

    with topics(settings), a_gate(settings, shops_file(tmp_path), tmp_path / "log") as gate:
        before = [push(gate, number) for number in range(5)]
        _stack("kill")
        lost = [push(gate, number) for number in range(10, 14)]
        assert ask(gate, "/readyz")[0] == 503
        _stack("start")
        deadline = time.monotonic() + 60
        while push(gate, 20) != 200:
            assert time.monotonic() < deadline, gate.log()
        after = [push(gate, number) for number in range(30, 35)]
        stored = [each.value for each in asyncio.run(records(settings, "shopify"))]
        assert gate.end() == 0

    assert set(before) == set(after) == {200}
    assert set(lost) == {503}
    assert set(acknowledged) <= set(stored)


def _stack(what: str) -> None:
    subprocess.run([sys.executable, "deploy/stack.py", what, "kafka"], cwd=ROOT, check=True)


def test_of_a_gateway_that_is_killed_every_acknowledged_push_is_on_the_topic(tmp_path: Path):
    settings = stack_settings(a_prefix())
    acknowledged: list[bytes] = []

    async def push(client: aiohttp.ClientSession, number: int) -> None:
        body = b'{"id":%d}' % number
        with contextlib.suppress(aiohttp.ClientError):
            async with client.post(HOOK, data=body, headers=shopify(body)) as answer:
                assert answer.status == 200
                acknowledged.append(body)
                if len(acknowledged) == 200:
                    gate.process.kill()

    async def burst() -> None:
        async with aiohttp.ClientSession(gate.url) as client:
            await asyncio.gather(*(push(client, number) for number in range(2_000)))

    with topics(settings), a_gate(settings, shops_file(tmp_path), tmp_path / "log") as gate:
        asyncio.run(burst())
        gate.process.wait(10)
        stored = [each.value for each in asyncio.run(records(settings, "shopify"))]

    assert 200 <= len(acknowledged) < 2_000
    assert set(acknowledged) <= set(stored)


def test_without_redis_a_promise_to_answer_once_is_not_given(tmp_path: Path):
    settings = stack_settings(a_prefix())
    lonely = settings.model_copy(
        update={"redis": settings.redis and type(settings.redis)(f"redis://{nobody()}/0")}
    )

    with topics(settings), a_gate(lonely, shops_file(tmp_path), tmp_path / "log") as gate:
        status, said = ask(gate, "/v1/orders", ORDER, BY_KEY | {"Idempotency-Key": "k"})
        assert (status, said["retry-after"]) == (503, "5")
        assert asyncio.run(records(settings, "mall")) == []
        # Without the promise there is nothing to remember.
        assert ask(gate, "/v1/orders", ORDER, BY_KEY)[0] == 202
        assert ask(gate, HOOK, b"{}", shopify(b"{}"))[0] == 200


def test_what_is_under_way_is_answered_before_the_end_and_the_end_is_0(tmp_path: Path):
    settings = stack_settings(a_prefix())
    head = f"POST {HOOK} HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in shopify(b"{}").items())

    with topics(settings), a_gate(settings, shops_file(tmp_path), tmp_path / "log") as gate:
        with gate.connect() as under_way, gate.connect():
            under_way.sendall(head.encode() + b"\r\n{")
            time.sleep(0.3)
            gate.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            under_way.sendall(b"}")
            assert under_way.recv(100).startswith(b"HTTP/1.1 200 ")
        assert gate.process.wait(15) == 0
        assert [each.value for each in asyncio.run(records(settings, "shopify"))] == [b"{}"]


def test_a_hangup_reads_the_shops_again_and_a_wrong_file_changes_nothing(tmp_path: Path):
    settings = stack_settings(a_prefix())
    file = shops_file(tmp_path)

    def take(text: str, expected: str) -> None:
        file.write_text(text)
        before = len(gate.log())
        gate.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while expected not in gate.log()[before:]:
            assert time.monotonic() < deadline, gate.log()
            time.sleep(0.02)

    with topics(settings), a_gate(settings, file, tmp_path / "log") as gate:
        assert ask(gate, HOOK, b"{}", shopify(b"{}", "shopify-newest"))[0] == 401

        take(SHOPS.replace('"shopify-old"', '"shopify-newest"'), "the shops were read again")
        assert ask(gate, HOOK, b"{}", shopify(b"{}", "shopify-newest"))[0] == 200
        assert ask(gate, HOOK, b"{}", shopify(b"{}", "shopify-old"))[0] == 401

        take("[[shops]", "the shops stay as they were")
        assert ask(gate, HOOK, b"{}", shopify(b"{}", "shopify-newest"))[0] == 200


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ORDERFLOW_SHOPS_FILE": "/nowhere/shops.toml"}, "cannot be read"),
        ({"ORDERFLOW_SHOPS_FILE": ""}, "ORDERFLOW_SHOPS_FILE"),
        ({"ORDERFLOW_GATEWAY_HOST": "192.0.2.1"}, "192.0.2.1 port 0 cannot be listened on"),
        ({"ORDERFLOW_GATEWAY_PORT": "99999"}, "ORDERFLOW_GATEWAY_PORT"),
        ({"ORDERFLOW_TOPIC_PREFIX": "nowhere-"}, "orderflow topics apply"),
    ],
)
def test_a_gateway_that_cannot_serve_says_why_and_ends_with_78(
    tmp_path: Path, wrong: dict[str, str], says: str
):
    settings = stack_settings(a_prefix())
    env = {k: v for k, v in os.environ.items() if not k.startswith("ORDERFLOW_")}
    env |= environment(settings) | {"ORDERFLOW_SHOPS_FILE": str(shops_file(tmp_path))} | wrong

    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "gateway"],
        env={**env, "ORDERFLOW_GATEWAY_PORT": env.get("ORDERFLOW_GATEWAY_PORT", "0")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 78
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
