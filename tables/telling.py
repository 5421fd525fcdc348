"""
What the order keeper says: letters to the stock keeper, events to all, details to the ledger.

One `Telling` collects what one decision says about one order, in the order in which it is said,
and gives each event the next version of the row.
"""

from typing import Any

from msgspec import Struct

from schemas.base import Moment
from schemas.errors import Refusal
from schemas.orders import (
    Case,
    CaseOpened,
    CaseSettled,
    Choice,
    Disposition,
    Ignored,
    Line,
    ObserveOrder,
    OrderDetails,
    OrderExpired,
    OrderObserved,
    OrderRefundChanged,
    OrderReserved,
    OrderReturned,
    OrderShipped,
    OrderShort,
    OrderStatusChanged,
    PublicLine,
    Refund,
    ReturnGoods,
    SettleCase,
    ShipOrder,
    ShippedLine,
    Short,
    Statement,
    StatementIgnored,
)
from schemas.stock import (
    ConfirmHold,
    HoldStock,
    OccupyStock,
    ReleaseStock,
    ReturnStock,
    ShipStock,
    Verb,
)
from tables.lifecycle import Goal
from tables.order_rows import HOLDING, Demand, Order

#: Who settles a case that has passed.
BY_ITSELF = "orderflow"


class Telling:
    """Collects what one decision says about one order, and gives each event its version."""

    def __init__(self, order: Order, at_ms: int, cause: str) -> None:
        self.order = order
        self.at_ms = at_ms
        self.cause = cause
        #: Letters and events, in the order in which they are said.
        self.said: list[Struct] = []

    def _head(self) -> dict[str, Any]:
        self.order.version += 1
        return {
            "order": self.order.key,
            "version": self.order.version,
            "at_ms": self.at_ms,
            "cause": self.cause,
        }

    def ask(self, verb: Verb | None, demand: Demand, quantity: int) -> None:
        """Write the letter that *verb* stands for, about *quantity* units of *demand*."""
        order, cause = self.order, self.cause
        match verb:
            case None:
                return
            case Verb.HOLD:
                letter: Struct = HoldStock(
                    order=order.key,
                    sku=demand.sku,
                    quantity=quantity,
                    attempt=order.attempt,
                    deadline_ms=order.deadline_ms,
                    cause=cause,
                    quota=order.policy.quota,
                    grow=_holds(order, demand.sku),
                )
            case Verb.OCCUPY:
                letter = OccupyStock(order=order.key, sku=demand.sku, cause=cause)
            case Verb.SHIP:
                letter = ShipStock(order=order.key, sku=demand.sku, cause=cause, quantity=quantity)
            case _:
                letter = ReleaseStock(
                    order=order.key, sku=demand.sku, verb=verb, cause=cause, quantity=quantity
                )
        self.said.append(letter)

    def confirm(self, demand: Demand, quantity: int) -> None:
        """Ask what became of a HoldStock: is so much held by now?"""
        order = self.order
        self.said.append(
            ConfirmHold(
                order=order.key,
                sku=demand.sku,
                attempt=order.attempt,
                quantity=quantity,
                cause=order.cause,
            )
        )

    def observed(self, command: ObserveOrder, lines: tuple[Line, ...]) -> None:
        """Repeat what the order is now known to be."""
        order = self.order
        self.said.append(
            OrderObserved(
                **self._head(),
                platform=order.platform,
                shop=order.shop,
                order_id=order.order_id,
                status=order.status,
                status_said=order.status_said,
                refund=order.refund,
                currency=order.currency,
                total_minor=order.total,
                shipping_minor=order.shipping,
                discount_minor=order.discount,
                tax_minor=order.tax,
                paid_minor=order.paid,
                refunded_minor=order.refunded,
                created_ms=_ms(order.created_at),
                paid_ms=_ms(order.paid_at),
                shipped_ms=_ms(order.shipped_at),
                completed_ms=_ms(order.completed_at),
                updated_ms=_ms(order.updated_at),
                lines=tuple(_public(line) for line in lines),
                adapter=command.source.adapter,
                digest=command.source.digest,
                unmapped=order.unmapped,
                received_ms=command.source.received_ms,
            )
        )

    def ignored(self, why: Ignored, said: Statement, command: ObserveOrder) -> None:
        """Record a statement that changed nothing, and why."""
        self.said.append(
            StatementIgnored(
                **self._head(),
                why=why,
                status=said.status,
                stated_ms=said.stated_ms,
                digest=command.source.digest,
            )
        )

    def details(self) -> None:
        """Hand what is personal to the ledger."""
        order = self.order
        self.said.append(
            OrderDetails(
                order=order.key,
                version=order.version,
                buyer=order.buyer,
                receiver=order.receiver,
                invoice=order.invoice,
                shipments=order.shipments,
                notices=order.notices,
            )
        )

    def reserved(self, refused: list[Demand]) -> None:
        """The verdict is yes. What has shipped already is told after its stock has left."""
        order = self.order
        if order.goal is not Goal.SHIP:
            order.announced = order.status
        deadline = order.deadline_ms if order.goal is Goal.LOCK else None
        self.said.append(
            OrderReserved(
                **self._head(),
                attempt=order.attempt,
                status=order.announced,
                deadline_ms=deadline,
                short=_short(refused),
            )
        )

    def short(self, refused: list[Demand], *, kept: bool) -> None:
        """The verdict is no; what was held before is *kept*."""
        order = self.order
        order.announced = order.status
        self.said.append(
            OrderShort(
                **self._head(),
                attempt=order.attempt,
                status=order.status,
                short=_short(refused),
                kept=kept,
                deadline_ms=order.deadline_ms if order.goal is Goal.LOCK else None,
            )
        )

    def expired(self, due: int) -> None:
        """Not paid in time."""
        self.said.append(OrderExpired(**self._head(), attempt=self.order.attempt, deadline_ms=due))

    def status(self) -> None:
        """Tell the status, if it is not what was told last."""
        order = self.order
        if order.status is None or order.status is order.announced:
            return
        before, order.announced = order.announced, order.status
        self.said.append(
            OrderStatusChanged(
                **self._head(),
                before=before,
                status=order.status,
                reservation=order.reservation,
            )
        )

    def refund(self) -> None:
        """Tell the refund, if it is not what was told last."""
        order = self.order
        if order.refund is None or order.refund is order.announced_refund:
            return
        before, order.announced_refund = order.announced_refund, order.refund
        if before is None and order.refund is Refund.NONE:
            return
        self.said.append(
            OrderRefundChanged(
                **self._head(), before=before, refund=order.refund, refunded_minor=order.refunded
            )
        )

    def case(self, case: Case, refused: list[Demand]) -> None:
        """Open a case, once."""
        order = self.order
        if case in order.cases:
            return
        order.cases = (*order.cases, case)
        self.said.append(CaseOpened(**self._head(), case=case, short=_short(refused)))

    def settled(self, command: SettleCase) -> None:
        """A person decided a case."""
        self._settled(command.case, command.choice, command.id, command.operator, command.reason)

    def passed(self, case: Case, choice: Choice, reason: str) -> None:
        """What a case was about has passed: nobody has to decide it."""
        self._settled(case, choice, self.cause, BY_ITSELF, reason)

    def _settled(
        self, case: Case, choice: Choice, command: str, operator: str, reason: str
    ) -> None:
        order = self.order
        still = [open_ for open_ in order.cases if open_ not in order.settled]
        self.said.append(
            CaseSettled(
                **self._head(),
                case=case,
                choice=choice,
                command=command,
                operator=operator,
                reason=reason,
                open_case=still[-1] if still else None,
            )
        )

    def returned(self, command: ReturnGoods, sku: str, returned: int) -> None:
        """What was shipped came back: to the public, and to the stock keeper unless it is lost."""
        order = self.order
        about: dict[str, Any] = {
            "command": command.id,
            "operator": command.operator,
            "reason": command.reason,
        }
        self.said.append(
            OrderReturned(
                **self._head(),
                sku=sku,
                quantity=command.quantity,
                disposition=command.disposition,
                returned=returned,
                **about,
            )
        )
        if command.disposition is not Disposition.LOST:
            self.said.append(
                ReturnStock(
                    order=order.key,
                    sku=sku,
                    quantity=command.quantity,
                    disposition=command.disposition,
                    cause=command.id,
                    **about,
                )
            )

    def shipped(self, command: ShipOrder, lines: tuple[ShippedLine, ...], left: int) -> None:
        """A parcel left, the last one of the order's row; *left* units of the order have not."""
        order = self.order
        self.said.append(
            OrderShipped(
                **self._head(),
                platform=order.platform,
                shop=order.shop,
                order_id=order.order_id,
                parcel=len(order.parcels),
                carrier=command.carrier,
                tracking_number=command.tracking_number,
                lines=lines,
                earlier=tuple(parcel.waybill for parcel in order.parcels[:-1]),
                left=left,
                reservation=order.reservation,
                command=command.id,
                operator=command.operator,
                reason=command.reason,
            )
        )


def _holds(order: Order, sku: str) -> bool:
    for demand in order.demands:  # noqa: SIM110  asked for every letter: twice as fast as any()
        if demand.held in HOLDING and demand.sku == sku:
            return True
    return False


def _ms(moment: Moment | None) -> int | None:
    return None if moment is None else moment.ms


def _short(refused: list[Demand]) -> tuple[Short, ...]:
    return tuple(
        Short(demand.sku, demand.quantity, demand.available, demand.refusal or Refusal.BUG)
        for demand in refused
    )


def _public(line: Line) -> PublicLine:
    return PublicLine(
        line_id=line.line_id,
        sku=line.sku,
        platform_sku=line.platform_sku,
        merchant_sku=line.merchant_sku,
        title=line.title,
        quantity=line.quantity,
        unit_price_minor=line.unit_price,
        line_total_minor=line.line_total,
        refund=line.refund,
    )
