"""
The identity of a topic: the id that Kafka gives it when it is made.

A topic that was deleted and made anew has its old name and another id. aiokafka asks for metadata
in a version from before ids, so the one request that says them is declared here (KIP-516,
Metadata version 10).
"""

from collections.abc import Collection
from io import BytesIO

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from schemas.errors import BrokerUnavailable
from streams.settings import Settings

_ID_BYTES = 16
_NO_TAGS: dict[int, bytes] = {}


class _Id:
    """A UUID as it stands on the wire."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(_ID_BYTES)

    @classmethod
    def repr(cls, value: bytes) -> str:
        return value.hex()


_TEXT = CompactString("utf-8")


class _IdsResponse(Response):
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", _TEXT),
                ("port", Int32),
                ("rack", _TEXT),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("topic_id", _Id),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _IdsStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _IdsResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Id), ("name", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _IdsRequest(Request[_IdsStruct]):
    API_KEY = 3

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_IdsStruct]) -> _IdsStruct:
        topics = [(bytes(_ID_BYTES), name, _NO_TAGS) for name in self._names]
        return request_struct_class(topics, False, False, False, _NO_TAGS)  # noqa: FBT003  a wire struct


async def topic_ids(settings: Settings, names: Collection[str]) -> dict[str, bytes]:
    """
    Return the id of each topic called *names* (declared names), 16 bytes.

    Raises BrokerUnavailable; a topic that is not there is left out.
    """
    wanted = {settings.topic(name): name for name in names}
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka, request_timeout_ms=20_000)
    try:
        await admin.start()
        said = await admin._send_request(_IdsRequest(wanted))  # noqa: SLF001  no public door
    except (KafkaConnectionError, KafkaError) as error:
        raise BrokerUnavailable(
            f"Kafka at {settings.kafka} did not say its topics' ids: {error!r}"
        ) from error
    finally:
        await admin.close()
    return {wanted[topic[1]]: topic[2] for topic in said.topics if topic[0] == 0}
