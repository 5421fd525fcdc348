"""
The decision of the job in plain Python, for the peers that bring no tables of their own.

The same checks and the same fields as `streams/bench/faust_way.py`, as dictionaries. It needs
nothing but the standard library, so that it runs in whatever environment a peer runs in.
"""

from typing import Any, NamedTuple

Fields = dict[str, Any]


class Decided(NamedTuple):
    """What a command leads to."""

    #: Changed rows under their keys: `SKU`, `SKU/ORDER`.
    rows: list[tuple[str, Fields]]
    answer: Fields | None
    event: Fields | None


def decide(rows: dict[str, Fields], command: Fields, at_ms: int) -> Decided:
    """Decide *command* by *rows*, and change them."""
    sku, quantity = command["sku"], command["quantity"]
    before = rows.get(sku)
    if command["verb"] == "receive":
        before = before or {"available": 0, "locked": 0, "version": 0}
        after = _moved(before, quantity, 0)
        rows[sku] = after
        return Decided([(sku, after)], None, _event(command, at_ms, None, "available", after))
    if before is None:
        return Decided([], _answer(command, "unknown_sku", 0), None)
    hold_key = f"{sku}/{command['order']}"
    if hold_key in rows:
        # Read again after a crash: the order hears it again, and nothing moves twice.
        return Decided([], _answer(command), None)
    if quantity > before["available"]:
        return Decided([], _answer(command, "not_enough", before["available"]), None)
    after = _moved(before, -quantity, quantity)
    hold = {
        "quantity": quantity,
        "bucket": "locked",
        "origin": "available",
        "deadline_ms": command["deadline_ms"],
    }
    rows[sku], rows[hold_key] = after, hold
    event = _event(command, at_ms, "available", "locked", after)
    return Decided([(sku, after), (hold_key, hold)], _answer(command), event)


def _moved(before: Fields, available: int, locked: int) -> Fields:
    return {
        "available": before["available"] + available,
        "locked": before["locked"] + locked,
        "version": before["version"] + 1,
    }


def _answer(command: Fields, refusal: str | None = None, available: int = 0) -> Fields:
    return {
        "order": command["order"],
        "sku": command["sku"],
        "attempt": command["attempt"],
        "refusal": refusal,
        "available": available,
    }


def _event(command: Fields, at_ms: int, source: str | None, target: str, after: Fields) -> Fields:
    return {
        "sku": command["sku"],
        "at_ms": at_ms,
        "cause": command.get("cause", ""),
        "version": after["version"],
        "verb": command["verb"],
        "quantity": command["quantity"],
        "source": source,
        "target": target,
        "available": after["available"],
        "locked": after["locked"],
        "order": command.get("order"),
        "deadline_ms": command.get("deadline_ms"),
    }
