"""The gateway as a process of its own, its shops, and pushes signed as the platforms sign them."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiokafka
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from streams.engine.admin import apply
from streams.gateway.door import platforms
from streams.settings import Settings
from streams.topics import RAW, raw
from tests.integration.conftest import ROOT, _addresses

TOPICS = [topic for topic in RAW if topic.name in {raw(name) for name in platforms()}]
URL_OF_SHOPEE = "https://example.com/shopee/push"
MALL_KEY, OLD_MALL_KEY = "mall-key-new", "mall-key-old"
AES_KEY = b"0123456789abcdef"

SHOPS = f"""
[[shops]]
platform = "shopify"
shop = "jsmith"
secrets = ["shopify-new", "shopify-old"]

[[shops]]
platform = "woocommerce"
shop = "corner"
secrets = ["woo &amp; secret"]

[[shops]]
platform = "tiktokshop"
shop = "fresh"
app_key = "tk-app"
secrets = ["tk-secret"]

[[shops]]
platform = "tiktokshop"
shop = "windowed"
app_key = "tk-app"
secrets = ["tk-secret"]
replay_window = "PT5M"

[[shops]]
platform = "shopee"
shop = "island"
callback_url = "{URL_OF_SHOPEE}"
secrets = ["shopee-secret"]

[[shops]]
platform = "douyin"
shop = "shanjiao"
app_key = "dy-app"
secrets = ["dy-secret"]

[[shops]]
platform = "kuaishou"
shop = "kuai"
secrets = ["{b64encode(AES_KEY).decode()}"]

[[shops]]
platform = "mall"
shop = "main"
secrets = ["sha256:{hashlib.sha256(MALL_KEY.encode()).hexdigest()}", "{OLD_MALL_KEY}"]

[[shops]]
platform = "mall"
shop = "second"
secrets = ["second-mall-key"]
"""


def a_prefix() -> str:
    return f"t{secrets.token_hex(4)}-"


def stack_settings(prefix: str, **more: Any) -> Settings:
    found = _addresses()
    return Settings(
        kafka=found["ORDERFLOW_KAFKA"],
        redis=found["ORDERFLOW_REDIS"],
        topic_prefix=prefix,
        partitions=2,
        **more,
    )


def shops_file(folder: Path, text: str = SHOPS) -> Path:
    file = folder / "shops.toml"
    file.touch(0o600)
    file.write_text(text)
    return file


@contextlib.contextmanager
def topics(settings: Settings) -> Iterator[None]:
    """The gateway's topics under these settings, gone afterwards."""
    asyncio.run(apply(settings, TOPICS))
    try:
        yield
    finally:
        asyncio.run(_forget(settings))


async def _forget(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        await admin.delete_topics([settings.topic(topic.name) for topic in TOPICS])
    finally:
        await admin.close()


class Gate:
    """A running gateway."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process
        self._log = log
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        return self._log.read_text()

    def until_logged(self, pattern: str, within_s: float = 30.0) -> re.Match[str]:
        deadline = time.monotonic() + within_s
        while True:
            if met := re.search(pattern, self.log()):
                return met
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, (pattern, self.log())
            time.sleep(0.05)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def say(self, *parts: bytes) -> bytes:
        """Send raw bytes and return all that is answered until the gateway closes or is done."""
        with self.connect() as link:
            for part in parts:
                link.sendall(part)
            return heard(link)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def heard(link: socket.socket) -> bytes:
    """One whole answer."""
    said = b""
    while b"\r\n\r\n" not in said:
        part = link.recv(65536)
        if not part:
            return said
        said += part
    head, _, body = said.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    while length and len(body) < int(length[1]):
        part = link.recv(65536)
        if not part:
            break
        body += part
    return head + b"\r\n\r\n" + body


@contextlib.contextmanager
def a_gate(settings: Settings, shops: Path, log: Path, **more: str) -> Iterator[Gate]:
    """Start a gateway on a free port, with *more* in its environment; it has ended afterwards."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("ORDERFLOW_")}
    env |= environment(settings) | {"ORDERFLOW_SHOPS_FILE": str(shops)} | more
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "gateway", "--port", "0"],
            env=env,
            stdout=said,
            stderr=said,
            cwd=ROOT,
        )
    gate = Gate(process, log)
    try:
        gate.port = int(gate.until_logged(r"listens on 127\.0\.0\.1 port (\d+)")[1])
        yield gate
    finally:
        if process.poll() is None:
            gate.end()


def environment(settings: Settings) -> dict[str, str]:
    env = {
        "ORDERFLOW_KAFKA": settings.kafka,
        "ORDERFLOW_TOPIC_PREFIX": settings.topic_prefix,
        "ORDERFLOW_PARTITIONS": str(settings.partitions),
        "ORDERFLOW_GATEWAY_SLOW_AFTER": f"PT{settings.gateway_slow_after.total_seconds()}S",
        "ORDERFLOW_GATEWAY_ACK_WITHIN": f"PT{settings.gateway_ack_within.total_seconds()}S",
    }
    if settings.redis:
        env["ORDERFLOW_REDIS"] = settings.redis.get_secret_value()
    return env


async def records(settings: Settings, platform: str) -> list[Any]:
    """All there is on a platform's raw topic."""
    return await everything_on(settings, raw(platform))


async def everything_on(settings: Settings, name: str) -> list[Any]:
    """All there is on a topic, a partition after the other."""
    topic = settings.topic(name)
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=settings.kafka, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        tps = [TopicPartition(topic, each) for each in range(settings.partitions)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        found: list[Any] = []
        while len(found) < sum(ends.values()):
            for some in (await consumer.getmany(timeout_ms=500)).values():
                found += some
        return found
    finally:
        await consumer.stop()


# --- as the platforms sign ------------------------------------------------------------------------


def hexed(secret: str, text: bytes) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def based(secret: str, text: bytes) -> str:
    return b64encode(hmac.new(secret.encode(), text, hashlib.sha256).digest()).decode()


def shopify(body: bytes, secret: str = "shopify-new") -> Mapping[str, str]:  # noqa: S107
    return {"X-Shopify-Hmac-Sha256": based(secret, body)}


def sealed(body: bytes) -> bytes:
    padding = PKCS7(128).padder()
    plain = padding.update(body) + padding.finalize()
    closing = Cipher(AES(AES_KEY), CBC(bytes(16))).encryptor()
    return b64encode(closing.update(plain) + closing.finalize())


def pushes() -> dict[str, tuple[str, bytes, Mapping[str, str], bytes]]:
    """Platform -> shop, body as sent, headers, what is on the topic then."""
    order = {"id": 450789469, "order_number": 1001}
    shopify_body = json.dumps(order).encode()
    woo = b'{"id":727,"status":"processing"}'
    thin = json.dumps(
        {"type": 1, "shop_id": "7", "timestamp": 1644412885, "data": {"order_id": "57"}}
    ).encode()
    shopee = b'{"data":{"ordersn":"220810QV"},"shop_id":1,"code":3,"timestamp":1660123127}'
    douyin = b'[{"tag":"101","msg_id":"1","data":"{\\"p_id\\":6930114477820063171}"}]'
    kuaishou = b'{"event":"kwaishop_order_paySuccess","info":"{\\"oid\\":2322900000001}"}'
    return {
        "shopify": ("jsmith", shopify_body, shopify(shopify_body), shopify_body),
        "woocommerce": (
            "corner", woo, {"X-WC-Webhook-Signature": based("woo & secret", woo)}, woo,
        ),
        "tiktokshop": (
            "fresh", thin, {"Authorization": hexed("tk-secret", b"tk-app" + thin)}, thin,
        ),
        "shopee": (
            "island", shopee,
            {"Authorization": hexed("shopee-secret", URL_OF_SHOPEE.encode() + b"|" + shopee)},
            shopee,
        ),
        "douyin": (
            "shanjiao", douyin,
            {"event-sign": hashlib.md5(b"dy-app" + douyin + b"dy-secret").hexdigest()},  # noqa: S324
            douyin,
        ),
        "kuaishou": ("kuai", sealed(kuaishou), {}, kuaishou),
    }  # fmt: skip


#: What each platform takes for a yes.
ACKS = {
    "shopify": b"",
    "woocommerce": b"",
    "tiktokshop": b"",
    "shopee": b"",
    "douyin": b'{"code":0,"msg":"success"}',
    "kuaishou": b'{"result":1}',
}
