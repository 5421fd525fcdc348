"""
A Redis that nobody waits long for: how everybody connects to it who can do without.

Promise: it answers soon, or its client raises one of redis-py's errors. Nothing is told of the
address, which has a password in it.
"""

from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from schemas.errors import Misconfigured


def client(url: str, within_s: float) -> Any:
    """
    Return a client that is answered within *within_s*, twice where a connection was found broken.

    Raises Misconfigured for what is no address of a Redis.
    """
    try:
        return redis.from_url(
            url,
            socket_timeout=within_s,
            socket_connect_timeout=within_s,
            retry=Retry(NoBackoff(), 1),
        )
    except ValueError:
        raise Misconfigured(
            "Set ORDERFLOW_REDIS to an address such as redis://:password@127.0.0.1:6379/0."
        ) from None  # the cause may repeat the address
