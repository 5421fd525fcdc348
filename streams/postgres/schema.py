"""
Builds and keeps the schema: migrations and rights. Only the owner role runs this.

Promises that everything here may run again at any time, on any number of machines at once, and
that no secret reaches a log or an error.
"""

import asyncio
import threading
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from alembic import command
from alembic.config import Config

from schemas.errors import Misconfigured
from streams.postgres import months
from streams.postgres.connecting import connected
from streams.postgres.ledger import keep_to_ship
from streams.postgres.queries import sql

MIGRATIONS = Path(__file__).parent / "migrations"
#: What the ledger role may do. The trails, and what is recorded once, are never changed.
GRANTS: dict[str, str] = {
    "orders": "SELECT, INSERT, UPDATE",
    "order_lines": "SELECT, INSERT, DELETE",
    "order_details": "SELECT, INSERT, UPDATE",
    "order_events": "SELECT, INSERT",
    "stock_ledger": "SELECT, INSERT",
    "stock": "SELECT, INSERT, UPDATE",
    "holds": "SELECT, INSERT, UPDATE",
    "quotas": "SELECT, INSERT, UPDATE",
    "shortfalls": "SELECT, INSERT",
    "returns": "SELECT, INSERT",
    "releases_ignored": "SELECT, INSERT",
    "command_answers": "SELECT, INSERT",
    "parked": "SELECT, INSERT, UPDATE",
    "sink_positions": "SELECT, INSERT, UPDATE",
    "sink_sources": "SELECT, INSERT, UPDATE",
    "drifts": "SELECT, INSERT, UPDATE",
    "sku_mappings": "SELECT, INSERT, UPDATE",
    "sku_mapping_changes": "SELECT",
    "exchange_rates": "SELECT, INSERT",
    "tax_rates": "SELECT, INSERT",
    "alerts": "SELECT, INSERT, UPDATE, DELETE",
    "alert_notices": "SELECT, INSERT, DELETE",
    "alert_deliveries": "SELECT, INSERT, UPDATE",
    "alert_channels": "SELECT, INSERT, UPDATE",
    "alert_lease": "SELECT, INSERT, UPDATE",
    "figures_touched": "INSERT",
    "orders_that_can_go": "SELECT",
    "orders_to_ship": "SELECT, INSERT, UPDATE (since), DELETE",
}
#: What the poller may do, which is nothing of the ledger's.
POLLER_GRANTS: dict[str, str] = {
    "poll_cursors": "SELECT, INSERT, UPDATE",
    "poll_fetches": "SELECT, INSERT, UPDATE, DELETE",
    "channel_silences": "SELECT, INSERT, UPDATE",
}
#: And what it may read of the orders: when a channel had one, not what it was.
POLLER_READS = "GRANT SELECT (platform, shop, first_received_at) ON orders TO {}"
#: What callbacks may do: queue, send, say which platforms can be told, park what nobody takes; and
#: read the subscribers' secrets.
CALLBACKS_GRANTS: dict[str, str] = {
    "callback_positions": "SELECT, INSERT, UPDATE",
    "subscribers": "SELECT",
    "subscriber_secrets": "SELECT",
    "subscriber_changes": "SELECT, INSERT",
    "deliveries": "SELECT, INSERT, UPDATE, DELETE",
    "delivery_destinations": "SELECT, INSERT, UPDATE",
    "delivery_hosts": "SELECT, INSERT, UPDATE, DELETE",
    "delivery_attempts": "SELECT, INSERT, DELETE",
    "parked": "SELECT, INSERT, UPDATE",
}
#: Of a label or field all but what it is called by, and of what kind it is.
_DEFINITION = "version, zh, en, retired_at, changed_at, changed_by, changed_why"
#: What people's changes may do: settle what is parked, pause intake, import, see to alerts and to
#: subscribers, whose secrets they write and cannot read. They make no keys.
OPERATIONS_GRANTS: dict[str, str] = {
    "parked": "SELECT, UPDATE (edited, edits, settled_at, settled_as, settled_by, settled_why)",
    "exception_changes": "SELECT, INSERT",
    "intake_pauses": "SELECT, INSERT, UPDATE (resumed_at, resumed_by, resumed_why, drained_at)",
    "operator_keys": "SELECT",
    # An order that could not be fetched is asked for again.
    "poll_fetches": "SELECT, INSERT, UPDATE",
    "imports": "SELECT, INSERT, UPDATE",
    "import_orders": "SELECT, INSERT, UPDATE",
    "import_refusals": "SELECT, INSERT",
    # What an import meets, and what became of its orders.
    "orders": "SELECT",
    "order_events": "SELECT",
    "sink_positions": "SELECT",
    "alerts": "SELECT, UPDATE (state, acknowledged_by, acknowledged_at, note)",
    # People map SKUs, one after the other: it takes the table's lock. A trigger keeps who and why.
    "sku_mappings": "SELECT, INSERT, UPDATE",
    "sku_mapping_changes": "SELECT",
    "subscribers": "SELECT, INSERT",
    "subscriber_secrets": "INSERT, SELECT (id, subscriber, made_at, expires_at),"
    " UPDATE (expires_at)",
    "subscriber_changes": "SELECT, INSERT",
    "delivery_destinations": "SELECT, INSERT, UPDATE (standing, standing_why, not_before)",
    # A person retries what was parked, tries a subscriber, and lets nothing wait for a removed one.
    "deliveries": "SELECT, INSERT, UPDATE (state, attempts, due_at, waiting_since, ended_at,"
    " leased_by, leased_until)",
    "delivery_attempts": "SELECT",
    "delivery_hosts": "SELECT",
    # Figures are counted anew, and said once a day; of a person they show the region alone.
    "figured_orders": "SELECT",
    "shop_clocks": "SELECT, INSERT, UPDATE",
    "figures_touched": "SELECT, DELETE",
    "figures_stale": "SELECT, INSERT, DELETE",
    "figures_parts": "SELECT, INSERT, DELETE",
    "figures_days": "SELECT, INSERT, DELETE",
    "figures_flow": "SELECT, INSERT, DELETE",
    "daily_reports": "SELECT, INSERT",
    # A file is taken, or withdrawn with its lines; what people said of a difference stays.
    "settlement_files": "SELECT, INSERT, UPDATE (withdrawn_at, withdrawn_by, withdrawn_why)",
    "settlement_lines": "SELECT, INSERT, UPDATE (order_key), DELETE",
    "settlement_repeats": "SELECT, INSERT, DELETE",
    "settlement_names": "SELECT, INSERT, UPDATE",
    "settlement_orders": "SELECT, INSERT, UPDATE, DELETE",
    "settlement_resolutions": "SELECT, INSERT",
    # Labels and fields, and which orders carry them. Triggers keep the history and the index.
    "labels": f"SELECT, INSERT, UPDATE ({_DEFINITION}, colour)",
    "custom_fields": f"SELECT, INSERT, UPDATE ({_DEFINITION}, choices, least, most, roles)",
    "definition_changes": "SELECT",
    "order_annotations": "SELECT, INSERT,"
    " UPDATE (version, labels, fields, words, changed_at, changed_by)",
    "order_annotation_changes": "SELECT",
    "order_annotation_words": "SELECT",
}
#: What the console may do by itself: see to its users and their sessions, and say what was done.
CONSOLE_GRANTS: dict[str, str] = {
    "console_users": "SELECT, INSERT, "
    "UPDATE (role, password, must_change, changed_at, changed_by, disabled_at)",
    "console_sessions": "SELECT, INSERT, UPDATE (seen_at), DELETE",
    "console_attempts": "SELECT, INSERT, DELETE",
    "console_audit": "SELECT, INSERT, UPDATE (outcome, said)",
}
#: What people note of orders: the reader sees it, also where no role is there that notes anything.
NOTED = (
    "labels", "custom_fields", "order_annotations", "order_annotation_changes",
    "order_annotation_words", "definition_changes",
)  # fmt: skip
#: Not even the reader sees these.
CLOSED = frozenset({"operator_keys", "subscriber_secrets", *CONSOLE_GRANTS})
#: So many orders' places in the list of what can go are mended at a time: the ledger waits for it.
MENDED_AT_ONCE = 1_000
#: Alembic keeps its context in module globals, so one thread at a time.
_THREAD = threading.Lock()
_connected = partial(connected, name="orderflow-schema")


def role_of(dsn: str) -> str:
    """Return the user name of *dsn*: the role that gets the rights."""
    name = urlsplit(dsn).username
    if not name:
        raise Misconfigured("A PostgreSQL address needs a user name.")
    return name


async def migrate(
    owner: str,
    *,
    ledger: str = "orderflow_ledger",
    reader: str = "orderflow_reader",
    poller: str | None = None,
    operations: str | None = None,
    callbacks: str | None = None,
    console: str | None = None,
) -> list[str]:
    """
    Bring the database of DSN *owner* up to date; return the revisions that were applied.

    The roles *ledger*, *reader* and, where there are any, *poller*, *operations*, *callbacks* and
    *console* get their rights, and the months at hand their partitions. The list of what can go is
    mended, should a ledger from before it was kept have written meanwhile.
    Raises LedgerUnavailable, Misconfigured.
    """
    async with _connected(owner) as connection:  # a wrong address is told in our words
        await connection.fetchval("SELECT 1")
    applied: list[str] = []
    await asyncio.to_thread(_upgrade, owner, applied)
    # At once, so that a ledger at work never sees its rights gone.
    async with _connected(owner) as connection, connection.transaction():
        await connection.execute(months.ONE_AT_A_TIME)
        for statement in grants(ledger, reader, poller, operations, callbacks, console):
            await connection.execute(statement)
    await months.ensure(owner)
    await mend_to_ship(owner)
    return applied


async def mend_to_ship(owner: str) -> int:
    """
    Let the list of what can go be what orders and holds say; return of how many orders it was not.

    Reads every order without a lock; each that is found is then looked at anew, in turn with the
    ledger. Raises LedgerUnavailable, Misconfigured.
    """
    async with _connected(owner) as connection:
        strayed = [row["order_key"] for row in await connection.fetch(sql("strayed_to_ship"))]
        for first in range(0, len(strayed), MENDED_AT_ONCE):
            async with connection.transaction():
                await keep_to_ship(connection, strayed[first : first + MENDED_AT_ONCE])
    return len(strayed)


def _upgrade(dsn: str, applied: list[str]) -> None:
    with _THREAD:
        command.upgrade(_config(dsn=dsn, applied=applied), "head")


def _config(**attributes: Any) -> Config:
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def offline_sql(
    ledger: str = "orderflow_ledger",
    reader: str = "orderflow_reader",
    poller: str | None = None,
    operations: str | None = None,
    callbacks: str | None = None,
    console: str | None = None,
) -> str:
    """Return everything `migrate` would run on an empty database, as one plain SQL script."""
    output = StringIO()
    with _THREAD:
        command.upgrade(_config(output=output), "head", sql=True)
    around = (
        f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {trail}"
        f" FOR VALUES FROM ('{first:%Y-%m-%d}Z') TO ('{after:%Y-%m-%d}Z');"
        for trail in months.TRAILS
        for name, first, after in months.months_of(trail, datetime.now(UTC))
    )
    given = grants(ledger, reader, poller, operations, callbacks, console)
    rights = (f"{statement};" for statement in given)
    return "\n".join([output.getvalue(), *rights, *around, ""])


def grants(
    ledger: str,
    reader: str,
    poller: str | None = None,
    operations: str | None = None,
    callbacks: str | None = None,
    console: str | None = None,
) -> list[str]:
    """Return the statements that give the roles their rights and nothing more."""
    looker = _quoted(reader)
    statements = _given(GRANTS, _quoted(ledger), looker)
    statements.append(f"GRANT SELECT ON {', '.join(NOTED)} TO {looker}")
    if poller is not None:
        statements += _given(POLLER_GRANTS, _quoted(poller), looker)
        statements.append(POLLER_READS.format(_quoted(poller)))
    if operations is not None:
        statements += _given(OPERATIONS_GRANTS, _quoted(operations), looker)
    if callbacks is not None:
        statements += _given(CALLBACKS_GRANTS, _quoted(callbacks), looker)
    if console is not None:
        statements += _given(CONSOLE_GRANTS, _quoted(console), looker)
    return [*statements, f"GRANT SELECT ON alembic_version TO {_quoted(ledger)}, {looker}"]


def _given(tables: dict[str, str], writer: str, looker: str) -> list[str]:
    statements = []
    for table, rights in tables.items():
        statements += [
            f"REVOKE ALL ON {table} FROM {writer}, {looker}",
            f"GRANT {rights} ON {table} TO {writer}",
        ]
        if table not in CLOSED:
            statements.append(f"GRANT SELECT ON {table} TO {looker}")
    return statements


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
