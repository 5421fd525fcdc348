"""
The words and rules that are judged by, written down a second time on purpose.

Nothing here is imported from `schemas` or `tables`: a rule that was wrong in both places by the
same edit would be no check. A test compares the *layouts* below with the real ones, so that a new
field shows up as a red test and not as a wrong verdict.
"""

# --- stock ----------------------------------------------------------------------------------------

BUCKETS = ("available", "locked", "occupied", "reserved", "frozen")
#: Held and not there: a bucket that counts down.
SHORTFALL = "shortfall"
#: verb -> the pairs (from, to) it may move units between; None is the world outside.
PATHS: dict[str, frozenset[tuple[str | None, str | None]]] = {
    "receive": frozenset({(None, "available")}),
    "adjust_up": frozenset({(None, "available")}),
    "adjust_down": frozenset({("available", None)}),
    "hold": frozenset({("available", "locked"), ("available", "occupied")}),
    "occupy": frozenset({("locked", "occupied")}),
    "release": frozenset({("locked", "available"), ("occupied", "available")}),
    "expire": frozenset({("locked", "available")}),
    "ship": frozenset({("occupied", None)}),
    "freeze": frozenset({("available", "frozen")}),
    "unfreeze": frozenset({("frozen", "available")}),
    "count_up": frozenset({(None, "available")}),
    "count_down": frozenset({("available", None)}),
    "count_short": frozenset({("shortfall", None)}),
    "cover": frozenset({("available", "shortfall")}),
    "found": frozenset({(None, "shortfall")}),
    "return": frozenset({(None, "available")}),
    "return_frozen": frozenset({(None, "frozen")}),
    "allot": frozenset({("available", "reserved")}),
    "give_back": frozenset({("reserved", "available")}),
    "draw": frozenset({("reserved", "available")}),
    "restore": frozenset({("available", "reserved")}),
}
#: The only verbs that bring units in or out.
CHANGE_ON_HAND = frozenset(
    verb for verb, paths in PATHS.items() if any(None in path for path in paths)
)
ENDS_A_HOLD = frozenset({"release", "expire", "ship"})
OF_HOLDS = ENDS_A_HOLD | {"hold", "occupy"}
RETURNS = frozenset({"return", "return_frozen"})
#: Verb of a quota -> what it does to the units the quota has left.
OF_QUOTAS = {"allot": 1, "restore": 1, "give_back": -1, "draw": -1}
BY_HAND = frozenset(
    {
        "receive", "adjust_up", "adjust_down", "freeze", "unfreeze",
        "count_up", "count_down", "count_short", "return", "return_frozen", "allot",
    }
)  # fmt: skip

# --- orders ---------------------------------------------------------------------------------------

UNPAID = frozenset({None, "UNKNOWN", "PENDING_PAYMENT"})
PAID = frozenset({"ON_HOLD", "PAID", "PARTIALLY_SHIPPED", "SHIPPED", "DELIVERED"})
GONE = frozenset({"SHIPPED", "DELIVERED", "COMPLETED"})
TO_PICK = frozenset({"ON_HOLD", "PAID", "PARTIALLY_SHIPPED"})
#: Of these statuses an order may leave the warehouse, but not with such a refund.
TO_SHIP = frozenset({"PAID", "PARTIALLY_SHIPPED"})
GOES_BACK = frozenset({"REFUNDING", "REFUNDED"})
CANCELLED, COMPLETED, PENDING = "CANCELLED", "COMPLETED", "PENDING_PAYMENT"


def may_follow(before: str | None, after: str | None) -> bool:
    """
    Say whether an order may go from *before* to *after*.

    Nothing leaves CANCELLED, COMPLETED is left only to CANCELLED, and what was paid never
    becomes unpaid again (domain.md section 2, platforms.md section 13).
    """
    if before == after:
        return True
    if before == CANCELLED:
        return False
    if before == COMPLETED:
        return after == CANCELLED
    return not (before in PAID and after in UNPAID)


#: Words for a reservation that still has its stock, or waits for it.
STILL_HELD = frozenset({"asking", "reserved", "partial"})
#: Where a demand stands -> the bucket in which its units are held; absent: it holds nothing.
HELD_IN = {"locked": "locked", "occupied": "occupied"}
#: Refusals of a command that was not looked at: they decide nothing, so nothing has to stand.
UNHEARD = frozenset({"too_old", "too_large", "id_reused", "bug"})

# --- layouts: the places of fields in MessagePack arrays ------------------------------------------

#: An operator's command about an order, and what it is answered with.
ABOUT_ORDERS = frozenset({"ReturnGoods", "SettleCase", "ShipOrder"})
#: Table of the order keeper, without tag.
ORDER_FIELDS = (
    "key", "platform", "shop", "order_id", "version", "policy", "cause", "status", "status_said",
    "status_at", "paid_said_ms", "refund", "refunded", "refund_at", "created_at", "paid_at",
    "shipped_at", "completed_at", "updated_at", "currency", "total", "shipping", "discount", "tax",
    "paid", "lines", "payment_method", "invoice", "notices", "content_at", "buyer", "buyer_at",
    "receiver", "receiver_at", "shipments", "shipments_at", "demands", "attempt", "deadline_ms",
    "undecided", "announced", "announced_refund", "cases", "warehouse", "since_ms", "reminded",
    "settled", "answers", "parcels",
)  # fmt: skip
STATEMENT_FIELDS = (
    "platform", "shop", "order_id", "status", "status_said", "refund", "created_at", "paid_at",
    "shipped_at", "completed_at", "updated_at", "stated_ms", "currency", "total", "shipping",
    "discount", "tax", "paid", "refunded", "lines", "buyer", "receiver", "invoice", "shipments",
    "payment_method", "notices",
)  # fmt: skip
LINE_FIELDS = (
    "line_id", "quantity", "platform_sku", "merchant_sku", "sku", "title", "unit_price",
    "line_total", "refund", "status_said", "components", "shipped",
)  # fmt: skip
#: A line as subscribers see it, and where the row and the statement have the same.
PUBLIC_LINE = (
    "line_id", "sku", "platform_sku", "merchant_sku", "title", "quantity", "unit_price_minor",
    "line_total_minor", "refund",
)  # fmt: skip
LINE_PLACES = tuple(LINE_FIELDS.index(column.removesuffix("_minor")) for column in PUBLIC_LINE)
PARKED_FIELDS = (
    "id", "stage", "cause", "field", "reason", "topic", "partition", "offset", "key", "value",
    "seen_ms", "platform", "shop",
)  # fmt: skip
DEMAND_FIELDS = (
    "sku", "quantity", "held", "refusal", "available", "shipped", "returned",
)  # fmt: skip
POLICY_FIELDS = ("hold_for_ms", "partial", "go_live_ms", "quota", "warehouse")
SOURCE_FIELDS = ("topic", "partition", "offset", "adapter", "digest", "received_ms")
STOCK_FIELDS = (*BUCKETS, "version", SHORTFALL)
HOLD_FIELDS = ("quantity", "bucket", "origin", "deadline_ms", "quota", "drawn")
QUOTA_FIELDS = ("sku", "name", "starts_ms", "ends_ms", "allotted", "left", "cause")
#: Letters, after their tag.
HOLD_STOCK_FIELDS = (
    "order", "sku", "quantity", "attempt", "deadline_ms", "cause", "quota", "grow",
)  # fmt: skip
CONFIRM_FIELDS = ("order", "sku", "attempt", "quantity", "cause")
ANSWER_FIELDS = ("order", "sku", "attempt", "refusal", "available", "again")
#: OccupyStock and ShipStock; ReleaseStock has its verb before the cause.
MOVE_STOCK_FIELDS = ("order", "sku", "cause")
RELEASE_STOCK_FIELDS = ("order", "sku", "verb", "cause", "quantity")
RETURN_STOCK_FIELDS = (
    "order", "sku", "quantity", "disposition", "command", "reason", "operator", "cause",
)  # fmt: skip

#: Keeper number in a letter's prefix -> its name on public events.
KEEPERS = {1: "orders", 2: "stock"}
#: Keeper -> its inbox and the topics that are numbered by its partition.
INBOXES = {"orders": "order-commands", "stock": "stock-commands"}
