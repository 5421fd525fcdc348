"""Which versions were compared: of the libraries, and of the servers that run here."""

import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from streams.processes import listener
from streams.settings import Settings
from tests.bench.installing import REQUIREMENTS

#: Those of the product's environment, and those of the peers'.
_OURS = ("faust-streaming", "aiokafka", "asyncpg", "redis")
_THEIRS = ("quixstreams", "confluent-kafka", "dbos", "restate-sdk")
_PIN = re.compile(r"^([a-z0-9-]+)(?:\[.*?\])?==(\S+)", re.MULTILINE)
_NUMBER = re.compile(r"\d+(?:\.\d+)+")


def versions(settings: Settings) -> dict[str, str]:
    """Return name and version of everything that is compared, as far as it is known."""
    pins = dict(_PIN.findall(REQUIREMENTS.read_text()))
    found = {name: version(name) for name in _OURS} | {name: pins[name] for name in _THEIRS}
    for name, program in (("Redis", shutil.which("redis-server")), ("PostgreSQL", _of(settings))):
        if program and (number := _asked(program)):
            found[name] = number
    return found


def _of(settings: Settings) -> str | None:
    """Return the program that serves PostgreSQL, where it runs here and may be looked at."""
    if settings.postgres_owner is None:
        return None
    where = urlsplit(settings.postgres_owner.get_secret_value())
    pid = listener(f"{where.hostname}:{where.port or 5432}")
    try:
        return str(Path(f"/proc/{pid}/exe").readlink()) if pid else None
    except OSError:
        return None


def _asked(program: str) -> str | None:
    done = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)
    met = _NUMBER.search(done.stdout)
    return met[0] if met else None
