"""
Which warehouse an order's goods leave from: a rule a shop names, chosen before the hold.

A rule is pure and total: the same statement is always sent from the same warehouse, and whatever a
statement does not say falls back to the shop's first one. The order keeper sticks to the first
choice, so a later body without a receiver moves nothing. Another rule is a class and a name in
`RULES`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from schemas.orders import Statement
from schemas.reference import Shop


class WarehouseRule(Protocol):
    """Chooses one of a shop's warehouses; it has several."""

    def choose(self, shop: Shop, said: Statement) -> str:
        """Return the name of one of `shop.warehouses`."""


class First:
    """The shop's first warehouse."""

    def choose(self, shop: Shop, said: Statement) -> str:  # noqa: ARG002  the shape of a rule
        """Return it."""
        return shop.warehouses[0]


class ByProvince:
    """The warehouse that serves the receiver's province; the first where none is named for it."""

    def choose(self, shop: Shop, said: Statement) -> str:
        """Return it; a province is known by how its name begins (浙江 is 浙江省)."""
        province = said.receiver.province if said.receiver is not None else None
        if province:
            for begins, warehouse in shop.provinces.items():
                if province.startswith(begins):
                    return warehouse
        return shop.warehouses[0]


#: `warehouse_by` of a shop -> its rule.
RULES: Mapping[str, WarehouseRule] = MappingProxyType({"first": First(), "province": ByProvince()})


def warehouse_of(shop: Shop, said: Statement, rules: Mapping[str, WarehouseRule] = RULES) -> str:
    """Return where the goods leave from; empty where the shop has one place for all its stock."""
    if len(shop.warehouses) <= 1:
        return ""
    return rules[shop.warehouse_by].choose(shop, said)
