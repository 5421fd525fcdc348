"""Webhooks over real HTTP, and what is on the real broker afterwards."""

import asyncio
import contextlib
import gzip
import hashlib
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yarl

from streams.settings import Settings
from tests.integration.at_the_gate import (
    ACKS,
    Gate,
    a_gate,
    a_prefix,
    based,
    heard,
    hexed,
    pushes,
    records,
    shopify,
    shops_file,
    stack_settings,
    topics,
)

pytestmark = pytest.mark.stack

HOOK = "/v1/webhooks/shopify/jsmith"
BODY_MAX = 2 * 1024 * 1024


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    made = stack_settings(a_prefix(), gateway_slow_after=timedelta(seconds=1))
    with topics(made):
        yield made


@pytest.fixture(scope="module")
def gate(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("gate")
    with a_gate(settings, shops_file(folder), folder / "log") as running:
        yield running


@pytest.fixture
async def client(gate: Gate) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(gate.url) as session:
        yield session


async def post(
    client: aiohttp.ClientSession, path: str, body: Any, headers: Any = None
) -> tuple[int, bytes]:
    async with client.post(path, data=body, headers=headers) as answer:
        return answer.status, await answer.read()


def request(head: str, body: bytes = b"", *, length: int | None = None) -> bytes:
    """A raw request with *head* after the address, and a content length unless it is -1."""
    length = len(body) if length is None else length
    said = "" if length < 0 else f"Content-Length: {length}\r\n"
    return f"POST {HOOK} HTTP/1.1\r\nHost: gate\r\n{said}{head}\r\n".encode() + body


def signed(body: bytes) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in shopify(body).items())


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


async def count(settings: Settings, platform: str = "shopify") -> int:
    return len(await records(settings, platform))


@pytest.mark.parametrize("platform", ACKS)
async def test_a_signed_push_is_on_the_topic_and_acknowledged_in_the_platforms_words(
    client: aiohttp.ClientSession, settings: Settings, platform: str
):
    shop, body, headers, payload = pushes()[platform]

    answer = await post(client, f"/v1/webhooks/{platform}/{shop}", body, headers)

    assert answer == (200, ACKS[platform])
    last = (await records(settings, platform))[-1]
    assert last.value == payload
    assert dict(last.headers) == {"shop": shop.encode()}


async def test_the_order_is_the_records_key_where_it_can_be_read(
    client: aiohttp.ClientSession, settings: Settings
):
    await post(client, "/v1/webhooks/shopify/jsmith", b'{"id":5001,"line_items":[]}')
    for platform, (shop, body, headers, _) in pushes().items():
        await post(client, f"/v1/webhooks/{platform}/{shop}", body, headers)

    keys = {platform: (await records(settings, platform))[-1].key for platform in pushes()}

    assert keys["douyin"] == b"6930114477820063171"
    assert keys["kuaishou"] == b"2322900000001"


@pytest.mark.parametrize("platform", ACKS)
async def test_a_push_that_was_changed_on_its_way_is_refused_without_a_hint(
    client: aiohttp.ClientSession, settings: Settings, platform: str
):
    shop, body, headers, _ = pushes()[platform]
    before = await count(settings, platform)

    changed = await post(client, f"/v1/webhooks/{platform}/{shop}", body[:-2] + b"xx", headers)
    unsigned = await post(client, f"/v1/webhooks/{platform}/{shop}", b"{}")

    assert changed == unsigned == (401, b"not accepted\n")
    assert await count(settings, platform) == before


async def test_two_orders_of_woocommerce_under_one_delivery_id_are_both_taken(
    client: aiohttp.ClientSession, settings: Settings
):
    """Its delivery id is made of the webhook and the second; it tells nothing apart (trap 5)."""
    bodies = [b'{"id":72701,"status":"processing"}', b'{"id":72702,"status":"processing"}']

    for body in (*bodies, bodies[0]):
        headers = {
            "X-WC-Webhook-Signature": based("woo & secret", body),
            "X-WC-Webhook-ID": "9",
            "X-WC-Webhook-Delivery-ID": "the same",
        }
        answer = await post(client, "/v1/webhooks/woocommerce/corner", body, headers)
        assert answer == (200, b"")

    # What comes again is known by what it says, further on; the gateway drops nothing.
    taken = [record.value for record in await records(settings, "woocommerce")]
    assert [taken.count(body) for body in bodies] == [2, 1]


async def test_the_new_and_the_old_secret_of_a_rotation_both_count_and_no_other(
    client: aiohttp.ClientSession,
):
    answers = {
        secret: (await post(client, HOOK, b"{}", shopify(b"{}", secret)))[0]
        for secret in ("shopify-new", "shopify-old", "shopify-older", "")
    }

    assert answers == {"shopify-new": 200, "shopify-old": 200, "shopify-older": 401, "": 401}


@pytest.mark.parametrize(
    ("platform", "says"),
    [
        ("taobao", b"message channel"),
        ("tmall", b"message channel"),
        ("jd", b"connection of its own"),
        ("pdd", b"WebSocket"),
        ("amazon", b"queue"),
        ("xiaohongshu", b"not known here"),
        ("mall", b"/v1/orders"),
        ("ebay", b"no such platform or shop"),
        ("shopify", b"no such platform or shop"),
    ],
)
async def test_an_address_that_takes_nothing_says_so(
    client: aiohttp.ClientSession, platform: str, says: bytes
):
    code, sentence = await post(client, f"/v1/webhooks/{platform}/nobody", b"{}")

    assert code == 404
    assert says in sentence


@pytest.mark.parametrize(
    "path", [HOOK + "/", HOOK + "/more", HOOK + "%2Fmore", "/v1/webhooks/shopify", "/"]
)
async def test_an_address_of_another_form_leads_nowhere(client: aiohttp.ClientSession, path: str):
    async with client.get(HOOK) as answer:
        assert answer.status == 405
    url = yarl.URL(path, encoded=True)
    async with client.post(url, data=b"{}", allow_redirects=False) as answer:
        assert answer.status == 404


async def test_probes_are_answered_and_not_stored(
    client: aiohttp.ClientSession, settings: Settings
):
    probe = b'[{"tag":"0","msg_id":"0","data":"probe"}]'
    sign = hashlib.md5(b"dy-app" + probe + b"dy-secret").hexdigest()  # noqa: S324
    before = await count(settings, "douyin"), await count(settings, "woocommerce")

    douyin = await post(client, "/v1/webhooks/douyin/shanjiao", probe, {"event-sign": sign})
    woo = await post(client, "/v1/webhooks/woocommerce/corner", b"webhook_id=142")

    assert douyin == (200, ACKS["douyin"])
    assert woo == (200, b"")
    assert (await count(settings, "douyin"), await count(settings, "woocommerce")) == before


@pytest.mark.parametrize(
    "body", [b"webhook_id=", b"webhook_id=1&x=2", b"webhook_id=1\n{}", b'{"webhook_id":1}']
)
async def test_only_a_ping_goes_unsigned(client: aiohttp.ClientSession, body: bytes):
    assert (await post(client, "/v1/webhooks/woocommerce/corner", body))[0] == 401


@pytest.mark.parametrize("times", [1, 2])
async def test_a_ping_with_a_signature_is_no_ping(client: aiohttp.ClientSession, times: int):
    headers = [("X-WC-Webhook-Signature", "d3Jvbmc=")] * times

    assert (await post(client, "/v1/webhooks/woocommerce/corner", b"webhook_id=1", headers))[
        0
    ] == 401


async def test_a_signed_message_that_is_no_order_is_kept_whole_for_intake_to_park(
    client: aiohttp.ClientSession, settings: Settings
):
    for body in (b"", b"\x00\xff not json", b"[" * 10_000):
        assert (await post(client, HOOK, body, shopify(body)))[0] == 200
        assert body in {each.value for each in await records(settings, "shopify")}


@pytest.mark.parametrize(
    ("off_s", "code"), [(-290, 200), (290, 200), (-310, 401), (310, 401), (None, 401)]
)
async def test_a_shop_with_a_replay_window_takes_what_was_signed_within_it(
    client: aiohttp.ClientSession, off_s: int | None, code: int
):
    said = {} if off_s is None else {"timestamp": int(time.time()) + off_s}
    body = json.dumps({"type": 1, **said}).encode()
    headers = {"Authorization": hexed("tk-secret", b"tk-app" + body)}

    windowed = await post(client, "/v1/webhooks/tiktokshop/windowed", body, headers)
    without = await post(client, "/v1/webhooks/tiktokshop/fresh", body, headers)

    assert (windowed[0], without[0]) == (code, 200)


# --- what a request may be ------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "code"), [(BODY_MAX, 200), (BODY_MAX + 1, 413)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_has_two_mebibytes_at_most(
    client: aiohttp.ClientSession, size: int, code: int, chunked: bool
):
    body = b'"' + b"x" * (size - 2) + b'"'

    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, size, 65536):
            yield body[at : at + 65536]

    sent = parts() if chunked else io.BytesIO(body)
    assert (await post(client, HOOK, sent, shopify(body)))[0] == code


async def test_who_sends_far_too_much_before_it_listens_hears_why_all_the_same(
    client: aiohttp.ClientSession,
):
    code, sentence = await post(client, HOOK, io.BytesIO(bytes(24 * 1024 * 1024)), {})

    assert (code, sentence) == (413, b"a body has at most 2097152 bytes\n")


def test_a_body_that_says_it_is_huge_is_refused_before_it_is_sent(gate: Gate):
    began = time.monotonic()
    answer = gate.say(request(signed(b""), length=10**12))

    assert status(answer) == 413
    assert b"connection: close" in answer.lower()
    assert time.monotonic() - began < 0.9, "it was waited for"


def test_who_asks_before_sending_hears_at_once(gate: Gate):
    body = b"{}"
    head = "Expect: 100-continue\r\n" + signed(body)

    assert status(gate.say(request(head, length=BODY_MAX + 1))) == 413
    with gate.connect() as link:
        link.sendall(request(head, length=len(body)))
        assert link.recv(1000).startswith(b"HTTP/1.1 100 ")
        link.sendall(body)
        assert status(heard(link)) == 200


async def test_a_gzip_bomb_is_refused_unopened_and_the_memory_stays_as_it_was(
    client: aiohttp.ClientSession, gate: Gate
):
    bomb = gzip.compress(bytes(500 * 1024 * 1024), 9)
    assert len(bomb) < BODY_MAX
    before = peak_kib(gate)

    for encoding in ("gzip", "GZIP", "deflate", "br", "gzip, gzip"):
        code, sentence = await post(
            client, HOOK, bomb, {"Content-Encoding": encoding, **shopify(bomb)}
        )
        assert (code, sentence) == (415, b"send the body without a content encoding\n")

    assert peak_kib(gate) - before < 16 * 1024


def peak_kib(gate: Gate) -> int:
    said = Path(f"/proc/{gate.process.pid}/status").read_text()
    return int(said.partition("VmHWM:")[2].split()[0])


async def test_a_chunked_push_is_read_whole(client: aiohttp.ClientSession, settings: Settings):
    body = b'{"id":77001,"note":"in parts"}'

    async def parts() -> AsyncIterator[bytes]:
        for byte in body:
            yield bytes([byte])

    assert await post(client, HOOK, parts(), shopify(body)) == (200, b"")
    assert (await records(settings, "shopify"))[-1] is not None
    assert body in {each.value for each in await records(settings, "shopify")}


@pytest.mark.parametrize(
    ("head", "length", "code"),
    [
        # The signature twice, the right one first or last: which is meant?
        (signed(b"{}") + "X-Shopify-Hmac-Sha256: eA==\r\n", 2, 401),
        ("X-Shopify-Hmac-Sha256: eA==\r\n" + signed(b"{}"), 2, 401),
        (signed(b"{}") + signed(b"{}"), 2, 401),
        # Bytes beyond ASCII in the signature.
        ("X-Shopify-Hmac-Sha256: \u00fc\r\n", 2, 401),
        # Two lengths, two framings: request smuggling begins with these.
        (signed(b"{}") + "Content-Length: 3\r\n", 2, 400),
        (signed(b"{}") + "Transfer-Encoding: chunked\r\n", 2, 400),
        (signed(b"{}") + "Content-Length: two\r\n", -1, 400),
        (signed(b"{}") + "Content-Length: -2\r\n", -1, 400),
        # Identity is no encoding, twice is one.
        (signed(b"{}") + "Content-Encoding: identity\r\n", 2, 200),
        (signed(b"{}") + "Content-Encoding: identity\r\nContent-Encoding: gzip\r\n", 2, 415),
        # Names are not told apart by their case.
        (signed(b"{}").replace("X-Shopify-Hmac", "x-SHOPIFY-hmac"), 2, 200),
    ],
)  # fmt: skip
def test_headers_that_contradict_themselves_prove_nothing(
    gate: Gate, head: str, length: int, code: int
):
    said = "" if length < 0 else f"Content-Length: {length}\r\n"
    raw = f"POST {HOOK} HTTP/1.1\r\nHost: gate\r\n{said}{head}\r\n".encode("latin-1") + b"{}"

    assert status(gate.say(raw)) == code


def test_a_body_that_is_shorter_than_it_says_is_waited_for_and_then_cut(gate: Gate):
    answer = gate.say(request(signed(b"{}"), b"{}", length=3))

    assert status(answer) == 408


async def test_a_client_that_goes_away_in_the_middle_stores_nothing(gate: Gate, settings: Settings):
    before = await count(settings)
    with gate.connect() as link:
        link.sendall(request(signed(b"{}"), b"{", length=2))

    await asyncio.sleep(0.2)
    assert await count(settings) == before


@pytest.mark.parametrize("first", [b"", request(signed(b"{}"), b"{}")])
def test_headers_that_do_not_end_are_cut_off(gate: Gate, first: bytes):
    with gate.connect() as link:
        if first:
            link.sendall(first)
            assert status(heard(link)) == 200
        link.sendall(f"POST {HOOK} HTTP/1.1\r\nHost: gate\r\n".encode())
        said = b""
        began = time.monotonic()
        # A byte now and then must not keep the connection.
        link.settimeout(0.2)
        while time.monotonic() - began < 8:
            try:
                part = link.recv(1000)
            except TimeoutError:
                link.sendall(b"x")
                continue
            if not part:
                break
            said += part

    assert status(said) == 408


@pytest.mark.parametrize("first", [b"", request(signed(b"{}"), b"{}")])
def test_a_body_that_trickles_and_a_second_request_that_does_are_cut_off(gate: Gate, first: bytes):
    with gate.connect() as link:
        if first:
            link.sendall(first)
            assert status(heard(link)) == 200
        link.sendall(request(signed(b"{}"), b"", length=100))
        began = time.monotonic()
        assert status(heard(link)) == 408
        assert time.monotonic() - began < 10
        assert link.recv(10) == b""


def test_a_connection_that_says_nothing_is_closed(gate: Gate):
    with gate.connect() as link:
        assert link.recv(10) == b""


def test_headers_of_any_length_are_refused_before_they_are_whole(gate: Gate):
    with gate.connect() as link:
        link.sendall(f"POST {HOOK} HTTP/1.1\r\nX-Long: ".encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                link.sendall(b"x" * 65536)
            assert status(heard(link)) == 400

    assert status(gate.say(request(signed(b"{}"), b"{}"))) == 200


async def test_requests_of_one_connection_are_answered_one_after_the_other(gate: Gate):
    one = request(signed(b"{}"), b"{}")
    with gate.connect() as link:
        link.sendall(one + one + one)
        assert [status(heard_one(link)) for _ in range(3)] == [200, 200, 200]


def heard_one(link: Any) -> bytes:
    said = b""
    while not said.endswith(b"\r\n\r\n"):
        said += link.recv(1)
    return said


# --- beside the webhooks --------------------------------------------------------------------------


async def test_a_thousand_pushes_at_once_are_all_stored_once(
    client: aiohttp.ClientSession, settings: Settings
):
    before = await count(settings)

    async def one(number: int) -> int:
        body = b'{"id":%d}' % (9_000_000 + number)
        return (await post(client, HOOK, body, shopify(body)))[0]

    assert set(await asyncio.gather(*(one(n) for n in range(1000)))) == {200}
    assert await count(settings) == before + 1000


async def test_the_gateway_says_that_it_lives_and_is_ready_and_counts(
    client: aiohttp.ClientSession,
):
    async with client.get("/healthz") as live, client.get("/readyz") as ready:
        assert (live.status, ready.status) == (200, 200)
    await post(client, "/v1/webhooks/never-heard-of/it", b"")
    async with client.get("/metrics") as answer:
        said = await answer.text()

    assert 'orderflow_webhooks_received_total{outcome="accepted",platform="shopify"}' in said
    assert 'orderflow_webhook_ack_seconds_bucket{le="0.05",platform="shopify"}' in said
    assert 'platform="other"' in said
    assert "never-heard-of" not in said


async def test_no_secret_and_no_signature_is_in_the_log(gate: Gate):
    said = gate.log()

    for secret in ("shopify-new", "shopify-old", "tk-secret", "dy-secret", "mall-key"):
        assert secret not in said
