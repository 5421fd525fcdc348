"""Workers of this machine, asked whether they are ready, and ports that they may listen on."""

import asyncio
import socket
from contextlib import ExitStack, suppress

from streams.web.health import READYZ

HERE = "127.0.0.1"
_ANSWERS_WITHIN_S = 2.0
_YES = b" 200 "


async def is_ready(port: int) -> bool:
    """Ask the process that listens on *port* of this machine whether it is ready."""
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_ANSWERS_WITHIN_S):
            reader, writer = await asyncio.open_connection(HERE, port)
            try:
                writer.write(f"GET {READYZ} HTTP/1.1\r\nHost: {HERE}\r\n\r\n".encode())
                return _YES in await reader.readuntil(b"\r\n")
            finally:
                writer.close()
    return False


def free_ports(count: int) -> list[int]:
    """Return so many ports that nobody listens on now."""
    with ExitStack() as held:
        return [
            held.enter_context(socket.create_server((HERE, 0))).getsockname()[1]
            for _ in range(count)
        ]


def free_port(wanted: int) -> int:
    """Return *wanted* if nobody listens there now, else another."""
    try:
        with socket.create_server((HERE, wanted)) as free:
            return int(free.getsockname()[1])
    except OSError:
        return free_ports(1)[0]
