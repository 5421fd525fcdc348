"""DBOS as a peer: its process in the peers' environment, its tables on the stack's server."""

from urllib.parse import urlsplit

from schemas.errors import Misconfigured
from streams.bench.reserve import JsonSide
from streams.settings import Settings
from tests.bench.installing import way
from tests.bench.peer import ROOT, Measure, over_kafka


def workflows() -> Measure:
    """Return the measure of one process; PostgreSQL's CPU counts with the broker's."""
    return over_kafka(_side, servers=_server)


def _side(settings: Settings) -> JsonSide:
    # The address has a password in it, which the list of processes would show.
    env = {"PYTHONPATH": str(ROOT), "BENCH_ADDRESS": _address(settings)}
    return JsonSide(settings, name="DBOS", program=way("dbos.reserve"), env=env)


def _server(settings: Settings) -> list[str]:
    return [urlsplit(_address(settings)).netloc.rpartition("@")[2]]


def _address(settings: Settings) -> str:
    if settings.postgres_owner is None:
        raise Misconfigured("Set ORDERFLOW_POSTGRES_OWNER.")
    return settings.postgres_owner.get_secret_value()
