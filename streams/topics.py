"""
Every topic once: its key, its partitions, what it keeps.

A partition count is for life: adding partitions re-keys data. Counts are checked at start and at
every assignment. `orderflow topics apply` creates what is missing and refuses what contradicts.
"""

from dataclasses import dataclass, field
from datetime import timedelta

#: Platforms whose raw topic exists from the first day, whether or not an adapter is written yet.
PLATFORMS = (
    "taobao", "tmall", "jd", "pdd", "douyin", "kuaishou", "xiaohongshu",
    "shopify", "amazon", "woocommerce", "tiktokshop", "shopee", "mall",
)  # fmt: skip

#: A raw record may be this large: a platform's largest body and its headers.
RAW_BYTES_MAX = 3 * 1024 * 1024
#: One commit of a keeper is one record batch; the producer's batches stay below this.
BATCH_BYTES_MAX = 1_000_000
#: What a changelog says of rows that are gone can be read for this long at least.
TOMBSTONES_KEPT = timedelta(days=1)


def _ms(**span: float) -> str:
    return str(timedelta(**span) // timedelta(milliseconds=1))


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One topic as it must exist on the broker."""

    name: str
    #: What its key is, in words; the partition is murmur2 of the key's bytes.
    key: str
    #: None: as many as the installation's setting says (12 by default).
    partitions: int | None = None
    config: dict[str, str] = field(default_factory=dict)


def _inbox(name: str, key: str) -> Topic:
    return Topic(
        name=name,
        key=key,
        config={
            "retention.ms": _ms(days=7),
            #: One clock, and it is part of the log.
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(RAW_BYTES_MAX),
        },
    )


def _public(name: str, key: str) -> Topic:
    return Topic(
        name=name,
        key=key,
        config={"retention.ms": _ms(days=30), "max.message.bytes": str(RAW_BYTES_MAX)},
    )


def raw(platform: str) -> str:
    """Return the name of a platform's raw topic."""
    return f"raw-orders-{platform}"


RAW = tuple(
    Topic(
        name=raw(platform),
        key="order where it can be read cheaply, else none",
        config={"retention.ms": _ms(days=30), "max.message.bytes": str(RAW_BYTES_MAX)},
    )
    for platform in PLATFORMS
)
OPERATOR_COMMANDS = _inbox("operator-commands", "order or SKU")
ORDER_COMMANDS = _inbox("order-commands", "order")
STOCK_COMMANDS = _inbox("stock-commands", "SKU")
ORDER_EVENTS = _public("order-events", "order")
STOCK_EVENTS = _public("stock-events", "SKU")
#: Internal: what is personal about an order, read by the ledger alone.
ORDER_DETAILS = _public("order-details", "order")
PARKED = _public("parked", "topic/partition/offset")
REFERENCE = Topic(
    name="reference", key="kind and id", partitions=1, config={"cleanup.policy": "compact"}
)


def changelog(table: str) -> Topic:
    """Return the changelog of a keeper's table: compacted, small segments, one batch a commit."""
    return Topic(
        name=f"{table}-changelog",
        key="row",
        config={
            "cleanup.policy": "compact",
            #: A late row of a stopped worker must lose before compaction could prefer it.
            "min.compaction.lag.ms": _ms(minutes=10),
            #: No snapshot older than this is believed: it might bring back rows that are gone.
            "delete.retention.ms": _ms(seconds=TOMBSTONES_KEPT.total_seconds()),
            "segment.bytes": str(64 * 1024 * 1024),
            "segment.ms": _ms(minutes=10),
            "max.message.bytes": str(2 * BATCH_BYTES_MAX),
        },
    )


TOPICS = (
    *RAW,
    OPERATOR_COMMANDS,
    ORDER_COMMANDS,
    STOCK_COMMANDS,
    ORDER_EVENTS,
    STOCK_EVENTS,
    ORDER_DETAILS,
    PARKED,
    REFERENCE,
    changelog("orders"),
    changelog("stock"),
)
