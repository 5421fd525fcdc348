"""
Intake: raw platform messages become `ObserveOrder`, operators' commands find their inbox.

Stateless and pure: the same record gives the same output. Whatever cannot be read is parked whole
with the field at fault; its neighbours never notice. Repeats are harmless: `ObserveOrder` is
idempotent by what it says, a parked message by its place.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

from msgspec import ValidationError, msgpack, structs

from agents.frames import cause_of
from agents.letters import Headers, seal, unseal
from agents.reference import Directory, policy_of
from schemas.base import Source
from schemas.errors import MalformedPayload, UndecodableMessage
from schemas.orders import Line, Notice, NoticeCode, ObserveOrder, Statement
from schemas.parked import Cause, Parked, Stage
from schemas.reference import Shop
from schemas.stock import OperatorStockCommand

#: A larger payload is no order.
PAYLOAD_BYTES_MAX = 512 * 1024
#: The header that names the shop a raw record belongs to.
SHOP_HEADER = "shop"

_decode_operator = msgpack.Decoder(OperatorStockCommand).decode


class RawRecord(Protocol):
    """What is read of a raw record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Adapter(Protocol):
    """What intake needs of a platform's adapter."""

    platform: str
    version: int

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return what *payload* states; raises Rejected."""


class Output(NamedTuple):
    """One message to send: internal, unnumbered."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers = []  # noqa: RUF012  aiokafka takes a list, and nobody changes it


class Destinations(NamedTuple):
    """The topics intake writes to."""

    order_commands: str
    stock_commands: str
    parked: str


class Unusable(NamedTuple):
    """Why a record is parked by a rule of ours rather than by its form."""

    cause: Cause
    field: str
    reason: str


class Intake:
    """Reads the raw topics of all platforms and the operators' topic."""

    def __init__(
        self,
        adapters: Mapping[str, Adapter],
        directory: Directory,
        to: Destinations,
        future_max_ms: int,
    ) -> None:
        self._adapters = adapters
        self._directory = directory
        self._to = to
        self._future_max_ms = future_max_ms

    def observe(self, platform: str, topic: str, partition: int, record: RawRecord) -> list[Output]:
        """Return one ObserveOrder for each order in a raw record, or the record parked whole."""
        shop = _shop_of(record)
        place = (topic, partition, platform, shop)
        try:
            adapter = self._adapters.get(platform)
            if adapter is None:
                reason = f"no adapter reads {platform!r} yet"
                return [
                    self._park(record, place, Unusable(Cause.UNKNOWN_PLATFORM, "platform", reason))
                ]
            payload = _payload_of(record)
            statements = adapter.parse(payload, shop)
            source = Source(
                topic=topic,
                partition=partition,
                offset=record.offset,
                adapter=f"{platform}/{adapter.version}",
                digest=sha256(payload).hexdigest()[:16],
                received_ms=record.timestamp,
            )
            outputs = []
            for statement in statements:
                said = self._stamped(statement, source)
                if isinstance(said, Unusable):
                    return [self._park(record, place, said)]
                outputs.append(Output(self._to.order_commands, statement.key.encode(), seal(said)))
        except Exception as error:  # noqa: BLE001  the message's fault or a bug in reading it: parked whole
            why = Unusable(cause_of(error), getattr(error, "field", ""), _sentence(error))
            return [self._park(record, place, why)]
        else:
            return outputs

    def _stamped(self, said: Statement, source: Source) -> ObserveOrder | Unusable:
        """Stamp what people decided about the shop: policy and SKUs."""
        shop = self._directory.shop(said.platform, said.shop)
        if shop is None:
            reason = (
                f"shop {said.shop!r} of {said.platform} is not in the reference data; "
                "add it with `orderflow reference apply FILE`, then feed the message again"
            )
            return Unusable(Cause.UNKNOWN_SHOP, "shop", reason)
        if said.created_at and said.created_at.ms > source.received_ms + self._future_max_ms:
            reason = f"created_at: {said.created_at.said} lies too far in the future"
            return Unusable(Cause.FUTURE, "created_at", reason)
        lines = tuple([self._mapped(shop, said.shop, line) for line in said.lines])
        unmapped = [
            Notice(NoticeCode.UNMAPPED_SKU, f"lines[{line.line_id}]", line.platform_sku or "")
            for line in lines
            if line.sku is None
        ]
        notices = (*said.notices, *unmapped)
        return ObserveOrder(
            statement=structs.replace(said, lines=lines, notices=notices),
            policy=policy_of(shop, said.payment_method),
            source=source,
        )

    def _mapped(self, shop: Shop, name: str, line: Line) -> Line:
        return structs.replace(line, sku=self._directory.sku(shop, name, line))

    def forward(self, topic: str, partition: int, record: RawRecord) -> list[Output]:
        """Send an operator's command on to the keeper of its SKU."""
        try:
            _, _, _, body = unseal(record.value)
            command = _decode_operator(body)
        except Exception as error:  # noqa: BLE001  the message's fault: parked whole
            why = Unusable(cause_of(error), getattr(error, "field", ""), _sentence(error))
            return [self._park(record, (topic, partition, None, None), why)]
        return [Output(self._to.stock_commands, command.sku.encode(), seal(command))]

    def _park(
        self, record: RawRecord, place: tuple[str, int, str | None, str | None], why: Unusable
    ) -> Output:
        topic, partition, platform, shop = place
        parked = Parked(
            id=f"{topic}/{partition}/{record.offset}",
            stage=Stage.INTAKE,
            cause=why.cause,
            field=why.field,
            reason=why.reason,
            topic=topic,
            partition=partition,
            offset=record.offset,
            key=record.key,
            value=record.value or b"",
            seen_ms=record.timestamp,
            platform=platform,
            shop=shop,
        )
        return Output(self._to.parked, parked.id.encode(), seal(parked))


def _shop_of(record: RawRecord) -> str:
    for name, value in record.headers:
        if name == SHOP_HEADER:
            return value.decode("utf-8", "replace")
    return ""


def _payload_of(record: RawRecord) -> bytes:
    if record.value is None:
        raise UndecodableMessage("the record has no value")
    if len(record.value) > PAYLOAD_BYTES_MAX:
        raise MalformedPayload(
            "payload", f"{len(record.value)} bytes, an order has at most {PAYLOAD_BYTES_MAX}"
        )
    return record.value


def _sentence(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return f"not a command of ours: {error}"
    return str(error) or type(error).__name__
