"""
The servers of `deploy/stack.py`, which may be broken: stopped, killed, restarted, emptied.

Promise: only a server that `stack.py` started is touched, by its own hand; one whose address was
given is left alone, and a fault that needs it says that it was skipped. Whatever was stopped runs
again when the context ends, however it ends.
"""

import asyncio
import sys
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from schemas.errors import Misconfigured, Unavailable
from streams import caching
from streams.settings import Settings

Server = Literal["kafka", "postgres", "redis"]
SERVERS: tuple[Server, ...] = ("kafka", "postgres", "redis")

_STACK = Path(__file__).parents[2] / "deploy" / "stack.py"
#: The addresses of what it started.
_OURS = Path(__file__).parents[2] / ".local" / "stack.env"
#: Redis is emptied within this, s.
_WITHIN_S = 10.0
_BEHIND, _BETWEEN = "ORDERFLOW_STACK_KAFKA_BEHIND", "ORDERFLOW_STACK_KAFKA_BETWEEN"


class Servers:
    """What chaos may do to the servers; as a context it leaves them running."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._down: set[Server] = set()

    async def __aenter__(self) -> Self:
        if not _STACK.exists():
            raise Misconfigured(f"Chaos breaks servers by {_STACK}; run it in a checkout.")
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in list(self._down):
            await self.start(server)

    def given(self, server: Server) -> bool:
        """Say whether *server* is somebody else's, which is not to be broken."""
        addresses = {
            "kafka": self._settings.kafka,
            "postgres": _told(self._settings.postgres_owner),
            "redis": _told(self._settings.redis),
        }
        return not addresses[server] or addresses[server] not in _ours()

    @staticmethod
    def kafka_line() -> tuple[tuple[str, int], int] | None:
        """Return where Kafka listens behind our line, and the port it says it listens on."""
        said = dict(line.partition("=")[::2] for line in _ours().splitlines())
        if _BEHIND not in said or _BETWEEN not in said:
            return None
        return _place(said[_BEHIND]), _place(said[_BETWEEN])[1]

    async def stop(self, server: Server) -> None:
        """Let *server* end in good order."""
        self._down.add(server)
        await _stack("stop", server)

    async def kill(self, server: Server) -> None:
        """End *server* as a crash would."""
        self._down.add(server)
        await _stack("kill", server)

    async def start(self, server: Server) -> None:
        """Start *server* on the data it had."""
        await _stack("start", server)
        self._down.discard(server)

    async def restart_at_once(self, server: Server) -> None:
        """Restart *server* without good order (PostgreSQL: immediate)."""
        await _stack("restart", "--immediate", server)

    async def empty_redis(self) -> None:
        """FLUSHALL."""
        if self._settings.redis is None:
            raise Misconfigured("ORDERFLOW_REDIS is not set.")
        async with caching.client(self._settings.redis.get_secret_value(), _WITHIN_S) as redis:
            await redis.flushall()


async def _stack(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(_STACK), *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    if process.returncode:
        raise Unavailable(f"`stack.py {' '.join(words)}` failed: {said.decode().strip()[-500:]}")


def _ours() -> str:
    return _OURS.read_text("utf-8") if _OURS.exists() else ""


def _told(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _place(address: str) -> tuple[str, int]:
    parts = urlsplit(f"//{address}")
    return parts.hostname or "127.0.0.1", parts.port or 0
