"""
The real broker for tests: settings with topics of their own, made before and removed after.
"""

import os
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from streams.engine.admin import apply
from streams.settings import Settings
from tests.integration import counting

ROOT = Path(__file__).resolve().parents[2]


def _addresses() -> dict[str, str]:
    """The stack's addresses, from the environment or from the file the local stack leaves."""
    found = {k: v for k, v in os.environ.items() if k.startswith("ORDERFLOW_")}
    file = ROOT / ".local" / "stack.env"
    if file.exists():
        for line in file.read_text().splitlines():
            name, _, value = line.partition("=")
            found.setdefault(name, value)
    return found


@pytest.fixture
def settings() -> Settings:
    """Settings of this test alone: a prefix nobody else has, and few partitions."""
    kafka = _addresses().get("ORDERFLOW_KAFKA")
    if not kafka:
        pytest.fail("The stack is not there: `make up`.")
    return Settings(
        kafka=kafka,
        topic_prefix=f"t{secrets.token_hex(4)}-",
        partitions=4,
        session_timeout=timedelta(seconds=6),
        heartbeat_interval=timedelta(seconds=1),
        foreign_check_every=timedelta(seconds=0.5),
        report_every=timedelta(seconds=0.5),
        drain_for=timedelta(seconds=4),
    )


@pytest.fixture
async def topics(settings: Settings) -> AsyncIterator[Settings]:
    """Settings whose topics exist; they are gone afterwards."""
    await apply(settings, counting.TOPICS)
    yield settings
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        await admin.delete_topics([settings.topic(topic.name) for topic in counting.TOPICS])
    finally:
        await admin.close()
