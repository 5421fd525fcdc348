"""
Orders that a file brought, in the unified schema, for any platform.

A file's rows become such bodies before they are sent (`streams/importing`), so what lies on the
platform's topic is one order, whole and in one form, and is read, replayed and explained like any
other. The form is the own mall's with two fields more:

    {"orderflow_import": 1, "platform": "taobao", "forced_at": "2026-11-11T01:30:00Z", ...}

`forced_at` is there when an operator said that the file is right where something newer is known:
then the order counts as stated at that time. Version 0, below every adapter's own: at the same time
of the same status, what the platform said itself stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from msgspec import structs

from schemas.errors import MalformedPayload
from schemas.orders import Refund, Statement, Status
from streams.adapters import mall
from streams.adapters.reading import Json, MoneyUnit, as_object, decode, offset

#: The only form there is; another meaning of the fields takes another number.
FORM: Final = 1


@dataclass(frozen=True, slots=True)
class Imported:
    """The adapter of one platform's orders as a file says them."""

    platform: str
    version: ClassVar[int] = 0
    zone: ClassVar[str] = "offset"
    money: ClassVar[MoneyUnit] = MoneyUnit.MINOR
    statuses: ClassVar[Mapping[str, Status]] = mall.STATUSES
    refunds: ClassVar[Mapping[str, Refund]] = mall.REFUNDS
    refund_closes: ClassVar[bool] = False

    def parse(self, payload: bytes, shop: str) -> list[Statement]:
        """Return the one statement in *payload*."""
        body = as_object(decode(payload), "payload")
        if body.pop("orderflow_import", None) != FORM:
            raise MalformedPayload("orderflow_import", f"only form {FORM} is known")
        forced_at = offset({"forced_at": body.pop("forced_at", None)}, "forced_at", "")
        self._check_platform(body)
        said = mall.stated(body, self.platform, shop)
        return [said if forced_at is None else structs.replace(said, stated_ms=forced_at.ms)]

    def _check_platform(self, body: Json) -> None:
        said = body.pop("platform", None)
        if said != self.platform:
            raise MalformedPayload("platform", f"{said!r} came on the topic of {self.platform}")

    def key_of(self, payload: bytes) -> bytes | None:
        """Return the order's id."""
        return mall.Mall().key_of(payload)
