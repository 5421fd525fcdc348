"""
Every topic once: its key, its partitions, what it keeps.

A partition count is for life: adding partitions re-keys data. Counts are checked at start and at
every assignment. `orderflow topics apply` creates what is missing and refuses what contradicts.
"""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import entry_points

from schemas.errors import Misconfigured

#: Where an installed package names its adapters: `platform = "module:object"`.
ADAPTERS_GROUP = "orderflow.adapters"
_OURS = (
    "taobao", "tmall", "jd", "pdd", "douyin", "kuaishou", "xiaohongshu",
    "shopify", "amazon", "woocommerce", "tiktokshop", "shopee", "mall",
)  # fmt: skip


def _installed() -> tuple[str, ...]:
    """Return the platforms of installed packages; `platform@2` is another version of one."""
    names = sorted({each.name for each in entry_points(group=ADAPTERS_GROUP)})
    for name in names:
        if not re.fullmatch(r"[a-z]+(-[a-z]+)*(@[1-9][0-9]*)?", name):
            raise Misconfigured(
                f"An installed package calls a platform {name!r}; let it use lower-case letters "
                "and hyphens, and maybe a version: platform@2."
            )
    return tuple(name for name in names if "@" not in name and name not in _OURS)


#: Platforms whose raw topic exists from the first day: ours, and those of installed packages.
PLATFORMS = (*_OURS, *_installed())

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
#: What intake set aside while its shop was paused: as a raw topic, in the partition that it came
#: from, in the broker's time.
RAW_HELD = Topic(
    name="raw-held",
    key="platform/shop; in the partition of the platform's topic that it came by",
    config={
        "retention.ms": _ms(days=90),
        "message.timestamp.type": "LogAppendTime",
        #: With the place where it stood.
        "max.message.bytes": str(RAW_BYTES_MAX + 64 * 1024),
    },
)
OPERATOR_COMMANDS = _inbox("operator-commands", "order or SKU")
ORDER_COMMANDS = _inbox("order-commands", "order")
STOCK_COMMANDS = _inbox("stock-commands", "SKU")
ORDER_EVENTS = _public("order-events", "order")
STOCK_EVENTS = _public("stock-events", "SKU")
#: Internal: what is personal about an order, read by the ledger alone.
ORDER_DETAILS = _public("order-details", "order")
#: A channel is silent, and talks again.
CHANNEL_EVENTS = _public("channel-events", "platform/shop")
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
    RAW_HELD,
    OPERATOR_COMMANDS,
    ORDER_COMMANDS,
    STOCK_COMMANDS,
    ORDER_EVENTS,
    STOCK_EVENTS,
    ORDER_DETAILS,
    CHANNEL_EVENTS,
    PARKED,
    REFERENCE,
    changelog("orders"),
    changelog("stock"),
)
