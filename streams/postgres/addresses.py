"""
Where each role of PostgreSQL is reached, by the settings; what is missing is said in one sentence.

Promise: light, because commands import it before they know what they need; and an address that is
not named is never guessed, since the client would go wherever its own environment points.
"""

from typing import TYPE_CHECKING

from schemas.errors import Misconfigured

if TYPE_CHECKING:
    from pydantic import SecretStr

    from streams.settings import Settings


def owner_of(settings: "Settings") -> str:
    """Return the address of the schema's owner: migrations, months, keys. Raises Misconfigured."""
    return _named(settings.postgres_owner, "OWNER", "owns the database")


def ledger_of(settings: "Settings") -> str:
    """Return the address that writes what happened. Raises Misconfigured."""
    return _named(settings.postgres_ledger, "LEDGER", "writes the ledger")


def reader_of(settings: "Settings") -> str:
    """Return the address PostgreSQL is read from. Raises Misconfigured."""
    return _named(settings.postgres_reader, "READER", "reads")


def poller_of(settings: "Settings") -> str:
    """Return the address at which cursors of polling are kept. Raises Misconfigured."""
    return _named(settings.postgres_poller, "POLLER", "keeps the poller's cursors")


def operations_of(settings: "Settings") -> str:
    """Return the address at which people's changes are written. Raises Misconfigured."""
    return _named(settings.postgres_operations, "OPERATIONS", "writes what people change")


def callbacks_of(settings: "Settings") -> str:
    """Return the address that queues and sends what others are told. Raises Misconfigured."""
    return _named(settings.postgres_callbacks, "CALLBACKS", "queues what others are told")


def console_of(settings: "Settings") -> str:
    """Return the address at which users and their sessions are kept. Raises Misconfigured."""
    return _named(settings.postgres_console, "CONSOLE", "keeps the console's users")


def _named(address: "SecretStr | None", role: str, does: str) -> str:
    if address is None:
        raise Misconfigured(
            f"Set ORDERFLOW_POSTGRES_{role} to the address of the PostgreSQL role that {does}."
        )
    return address.get_secret_value()
