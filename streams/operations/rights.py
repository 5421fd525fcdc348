"""
Who may do what: rights, and the roles that have them.

A new page names the right it needs; a new kind of work gets a right of its own here, and the roles
that shall have it. Nothing is anybody's by default.
"""

from schemas.base import Word


class Right(Word):
    """One kind of thing that a person may do."""

    #: See everything that is shown masked.
    LOOK = "look"
    #: See original bytes and what is personal in them.
    SEE_PERSONAL = "see_personal"
    #: Correct, retry and discard exceptions.
    EXCEPTIONS = "exceptions"
    #: Pause intake of a shop, and resume it.
    PAUSE = "pause"
    #: See to alerts.
    ALERTS = "alerts"
    #: Import orders from files.
    IMPORTS = "imports"
    #: Say that a parcel left.
    SHIP = "ship"
    #: Let a file overrule what was stated later.
    FORCE_IMPORTS = "force_imports"
    #: Say who is told of orders by webhook.
    SUBSCRIBERS = "subscribers"
    #: Receive, count, correct and freeze stock.
    STOCK = "stock"
    #: Say which SKU of ours a shop's SKU is.
    MAPPINGS = "mappings"
    #: Take platforms' settlement files, and resolve what differs.
    SETTLEMENTS = "settlements"
    #: Note labels and fields of orders.
    ANNOTATE = "annotate"
    #: Say which labels and fields there are.
    DEFINE = "define"
    #: Say who may log in to the console, and as what.
    USERS = "users"
    #: Read who did what in the console.
    AUDIT = "audit"


class Role(Word):
    """What a person is in the company; an operator has one."""

    VIEWER = "viewer"
    SERVICE = "service"
    WAREHOUSE = "warehouse"
    OPERATIONS = "operations"
    FINANCE = "finance"
    ADMIN = "admin"


RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({Right.LOOK}),
    # Customer service talks with the people whose orders these are.
    Role.SERVICE: frozenset({Right.LOOK, Right.SEE_PERSONAL, Right.EXCEPTIONS, Right.ANNOTATE}),
    Role.WAREHOUSE: frozenset({Right.LOOK, Right.ALERTS, Right.SHIP, Right.STOCK, Right.ANNOTATE}),
    # Whoever repairs a message has to see it. To overrule newer statements takes an admin, and so
    # does telling others of the company's orders, who may log in, and what colleagues did. What
    # platforms pay and keep is finance's.
    Role.OPERATIONS: frozenset(Right)
    - {Right.FORCE_IMPORTS, Right.SUBSCRIBERS, Right.USERS, Right.AUDIT, Right.SETTLEMENTS},
    Role.FINANCE: frozenset({Right.LOOK, Right.SETTLEMENTS}),
    Role.ADMIN: frozenset(Right),
}
