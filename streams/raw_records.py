"""
What a raw record is made of, whoever sends it: the feed or the gateway.

Promise: the same payload of the same shop gets the same key and headers on either way, so intake
cannot tell them apart, and all records of one order lie in one partition.
"""

from typing import Any

import aiokafka

from agents.intake import SHOP_HEADER
from streams.adapters import ADAPTERS, reader_of
from streams.settings import Settings
from streams.topics import RAW_BYTES_MAX


def key_of(platform: str, payload: bytes) -> bytes | None:
    """Return the key of *payload*: its order where it can be read cheaply."""
    adapter = ADAPTERS.get(platform)
    return reader_of(adapter, payload).key_of(payload) if adapter else None


def headers_of(shop: str) -> list[tuple[str, bytes]]:
    """Return the headers that intake reads."""
    return [(SHOP_HEADER, shop.encode())]


def producer(settings: Settings, **more: Any) -> Any:
    """Return a producer, not yet started, that reports nothing as sent that could be lost."""
    return aiokafka.AIOKafkaProducer(
        bootstrap_servers=settings.kafka,
        acks="all",
        enable_idempotence=True,
        max_request_size=RAW_BYTES_MAX,
        **more,
    )
