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

from agents.addresses import AddressHint, chinese, filled
from agents.frames import cause_of
from agents.invoices import doubts
from agents.letters import Headers, seal, unseal
from agents.reference import Directory, is_of, policy_of
from agents.warehouses import RULES, WarehouseRule, warehouse_of
from schemas.base import Source
from schemas.errors import MalformedPayload, Refusal, UndecodableMessage
from schemas.orders import (
    Line,
    Notice,
    NoticeCode,
    ObserveOrder,
    OperatorOrderCommand,
    Statement,
)
from schemas.parked import Cause, Parked, Stage
from schemas.reference import Shop
from schemas.stock import OperatorStockCommand, RefuseStock

#: The parts of all kits of one order; more would not fit the order's row.
PARTS_MAX = 1_000
#: A larger payload is no order.
PAYLOAD_BYTES_MAX = 512 * 1024
#: What a platform says later than this after it happened is counted as late: a poll that fills a
#: gap, or a zone that was read wrong the other way.
LATE_MS = 5 * 60 * 1000
#: What an output counts as.
PARKED, LATE = "parked", "late"
#: How the body of an order begins that a file brought, in our own form, on its platform's topic.
IMPORTED = b'{"orderflow_import":'
#: The header that names the shop a raw record belongs to.
SHOP_HEADER = "shop"
#: The header of a record that is sent once more: which exception it was.
RETRY_HEADER = "retry-of"

_decode_operator = msgpack.Decoder(OperatorStockCommand | OperatorOrderCommand).decode


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
    #: What to count it as, and of which kind; None: nothing out of the ordinary.
    counts_as: tuple[str, str] | None = None
    #: Where it has to go, whatever its key says.
    partition: int | None = None


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
        rules: Mapping[str, WarehouseRule] = RULES,
        hint: AddressHint = chinese,
        imported: Mapping[str, Adapter] | None = None,
        versions: Mapping[str, Mapping[int, Adapter]] | None = None,
    ) -> None:
        #: Every version that is there, by platform: a trial names one.
        self._versions = versions or {}
        #: What reads the orders that files brought, by platform.
        self._imported = imported or {}
        self._hint = hint
        self._adapters = adapters
        self._directory = directory
        self._to = to
        self._future_max_ms = future_max_ms
        self._rules = rules

    def observe(
        self,
        platform: str,
        topic: str,
        partition: int,
        record: RawRecord,
        now_ms: int | None = None,
    ) -> list[Output]:
        """
        Return one ObserveOrder for each order in a raw record, or the record parked whole.

        With *now_ms* it is read once more, later than it was received: mappings that began since
        count.
        """
        shop = shop_of(record)
        place = (topic, partition, platform, shop)
        try:
            adapter = self._adapter_of(platform, shop)
            if adapter is None:
                reason = f"no adapter reads {platform!r} yet"
                return [
                    self._park(record, place, Unusable(Cause.UNKNOWN_PLATFORM, "platform", reason))
                ]
            payload = _payload_of(record)
            is_imported = payload.startswith(IMPORTED)
            if is_imported:
                adapter = self._imported.get(platform, adapter)
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
                said = self._stamped(statement, source, now_ms or record.timestamp)
                if isinstance(said, ObserveOrder):
                    said = _held_from_the_start(said) if is_imported else self._of_its_time(said)
                if isinstance(said, Unusable):
                    return [self._park(record, place, said)]
                late = not is_imported and 0 < statement.stated_ms < record.timestamp - LATE_MS
                outputs.append(
                    Output(
                        self._to.order_commands,
                        statement.key.encode(),
                        seal(said),
                        counts_as=(LATE, platform) if late else None,
                    )
                )
        except Exception as error:  # noqa: BLE001  the message's fault or a bug in reading it: parked whole
            why = Unusable(cause_of(error), getattr(error, "field", ""), _sentence(error))
            return [self._park(record, place, why)]
        else:
            return outputs

    def _adapter_of(self, platform: str, shop: str) -> Adapter | None:
        """
        Return what reads this shop's messages: the present version, or that of a trial.

        Where the trial's is not installed the present one reads: its stamp on the order says so.
        """
        adapter = self._adapters.get(platform)
        gray = self._directory.grays.get(platform)
        if gray is None or not is_of(gray, shop):
            return adapter
        return self._versions.get(platform, {}).get(gray.version, adapter)

    def _of_its_time(self, command: ObserveOrder) -> ObserveOrder | Unusable:
        """
        Return *command*, unless the message is from the future, dated by itself alone.

        A thin one has no other time, and would outrank whatever is said of its order until then.
        """
        ahead_ms = command.statement.stated_ms - command.source.received_ms
        if ahead_ms <= self._future_max_ms:
            return command
        return _from_the_future("stated_ms", "the time of the message", ahead_ms)

    def _stamped(self, said: Statement, source: Source, now_ms: int) -> ObserveOrder | Unusable:
        """Stamp what people decided about the shop: policy and SKUs."""
        shop = self._directory.shop(said.platform, said.shop)
        if shop is None:
            reason = (
                f"shop {said.shop!r} of {said.platform} is not in the reference data; "
                "add it with `orderflow reference apply FILE`, then feed the message again"
            )
            return Unusable(Cause.UNKNOWN_SHOP, "shop", reason)
        for name, at in (("created_at", said.created_at), ("updated_at", said.updated_at)):
            if at is not None and at.ms > source.received_ms + self._future_max_ms:
                ahead_ms = at.ms - source.received_ms
                return _from_the_future(name, f"{at.said} (read as {at.zone})", ahead_ms)
        ordered_ms = said.created_at.ms if said.created_at else source.received_ms
        lines = tuple(
            [self._mapped(shop, said.shop, line, ordered_ms, now_ms) for line in said.lines]
        )
        notices, parts = [*said.notices], 0
        for line in lines:
            parts += len(line.components)
            if line.sku is None:
                field = f"lines[{line.line_id}]"
                notices.append(Notice(NoticeCode.UNMAPPED_SKU, field, line.platform_sku or ""))
        if parts > PARTS_MAX:
            reason = f"lines: kits of {parts} parts in all, at most {PARTS_MAX} are handled"
            return Unusable(Cause.MALFORMED, "lines", reason)
        if said.invoice:
            wrong = doubts(said.invoice, said.currency)
            notices += [Notice(NoticeCode.INVOICE, field, why) for field, why in wrong]
        receiver = filled(said.receiver, self._hint) if said.receiver else None
        said = structs.replace(said, lines=lines, notices=tuple(notices), receiver=receiver)
        warehouse = warehouse_of(shop, said, self._rules)
        policy = policy_of(shop, said.payment_method, warehouse)
        return ObserveOrder(statement=said, policy=policy, source=source)

    def _mapped(self, shop: Shop, name: str, line: Line, ordered_ms: int, now_ms: int) -> Line:
        sku = self._directory.sku(shop, name, line, ordered_ms, now_ms)
        parts = self._directory.parts(sku)
        if parts:
            return structs.replace(line, sku=sku, components=parts)
        return structs.replace(line, sku=sku)

    def forward(self, topic: str, partition: int, record: RawRecord) -> list[Output]:
        """Send an operator's command on to the keeper of its SKU or order."""
        try:
            _, _, _, body = unseal(record.value)
            command = _decode_operator(body)
        except Exception as error:  # noqa: BLE001  the message's fault: parked whole
            why = Unusable(cause_of(error), getattr(error, "field", ""), _sentence(error))
            return [self._park(record, (topic, partition, None, None), why)]
        if isinstance(command, OperatorOrderCommand):
            return [Output(self._to.order_commands, command.order.encode(), seal(command))]
        key, refusal = command.sku.encode(), self._refused(command.sku)
        if refusal is not None:
            command = RefuseStock(id=command.id, sku=command.sku, refusal=refusal)
        return [Output(self._to.stock_commands, key, seal(command))]

    def _refused(self, sku: str) -> Refusal | None:
        """Say what the reference data knows to be wrong; the keeper, who has none, answers it."""
        name, at, warehouse = sku.rpartition("@")
        if at and self._directory.has_warehouses and not self._directory.is_warehouse(warehouse):
            return Refusal.UNKNOWN_WAREHOUSE
        twin = self._directory.twin(name if at else sku)
        return Refusal.MISSPELT_SKU if twin is not None else None

    def _park(
        self, record: RawRecord, place: tuple[str, int, str | None, str | None], why: Unusable
    ) -> Output:
        topic, partition, platform, shop = place
        parked = Parked(
            id=f"{topic}/{partition}/{record.offset}",
            stage=Stage.INTAKE,
            cause=why.cause,
            field=why.field,
            reason=why.reason + _retried(record),
            topic=topic,
            partition=partition,
            offset=record.offset,
            key=record.key,
            value=record.value or b"",
            seen_ms=record.timestamp,
            platform=platform,
            shop=shop,
        )
        return Output(
            self._to.parked,
            parked.id.encode(),
            seal(parked),
            counts_as=(PARKED, why.cause.value),
        )


def _from_the_future(name: str, said: str, ahead_ms: int) -> Unusable:
    reason = (
        f"{name}: {said} lies {ahead_ms // 60_000} minutes in the future; was its zone read right?"
    )
    return Unusable(Cause.FUTURE, name, reason)


def _held_from_the_start(said: ObserveOrder) -> ObserveOrder:
    """Count an unpaid order's time from when it was placed, not from when a file brought it."""
    created_at = said.statement.created_at
    if created_at is None:
        return said
    policy = structs.replace(said.policy, hold_from_ms=created_at.ms)
    return structs.replace(said, policy=policy)


def shop_of(record: RawRecord) -> str:
    """Return the shop that *record* belongs to; empty where it names none."""
    for name, value in record.headers:
        if name == SHOP_HEADER:
            return value.decode("utf-8", "replace")
    return ""


def _retried(record: RawRecord) -> str:
    """Say which exception *record* is another attempt at, if it is one."""
    for name, value in record.headers:
        if name == RETRY_HEADER:
            return f" (tried again; it was {value.decode('utf-8', 'replace')})"
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
