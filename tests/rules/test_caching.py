"""A Redis that can be done without: what is no address of one is said at once, and not repeated."""

from collections.abc import Callable

import pytest
from pydantic import SecretStr

from schemas.errors import Misconfigured
from streams.annotating.leases import Leases
from streams.availability.store import Store
from streams.gateway.idempotency import Answers
from streams.settings import Settings

NO_ADDRESS = "rediss//:geheim@127.0.0.1:6379/0"


@pytest.mark.parametrize(
    "connect",
    [
        Leases,
        Answers,
        lambda settings: Store(settings.redis.get_secret_value(), "", dict, 1.0),
    ],
    ids=["leases", "answers", "availability"],
)
def test_what_is_no_address_of_a_redis_is_refused_and_its_password_is_told_nobody(
    connect: Callable[[Settings], object],
) -> None:
    settings = Settings(kafka="127.0.0.1:1", redis=SecretStr(NO_ADDRESS))
    with pytest.raises(Misconfigured, match="Set ORDERFLOW_REDIS") as refused:
        connect(settings)
    told = refused.value
    assert "geheim" not in f"{told!r} {told.__cause__!r}"
    assert told.__suppress_context__
