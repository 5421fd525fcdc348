"""Where PostgreSQL is: an address that is missing is said by its name, and none is guessed."""

import pytest
from pydantic import SecretStr

from schemas.errors import Misconfigured
from schemas.stock import AdjustStock
from streams.postgres import addresses
from streams.reconciling.confirming import confirm
from streams.settings import Settings

ROLES = {
    name.removesuffix("_of"): said for name, said in vars(addresses).items() if name.endswith("_of")
}


def test_every_role_of_the_settings_is_asked_for_here():
    named = {name for name in Settings.model_fields if name.startswith("postgres_")}

    assert {f"postgres_{role}" for role in ROLES} == named


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_is_named_is_given_and_one_that_is_not_is_said_by_its_name(role: str):
    dsn = f"postgresql://{role}@127.0.0.1/orderflow"
    there = Settings(kafka="none:0").model_copy(update={f"postgres_{role}": SecretStr(dsn)})

    assert ROLES[role](there) == dsn
    with pytest.raises(Misconfigured, match=rf"^Set ORDERFLOW_POSTGRES_{role.upper()} to "):
        ROLES[role](there.model_copy(update={f"postgres_{role}": None}))


async def test_a_drift_is_not_confirmed_where_the_clients_own_environment_points(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "1")
    settings = Settings(kafka="none:0").model_copy(update={"postgres_ledger": None})

    with pytest.raises(Misconfigured, match="ORDERFLOW_POSTGRES_LEDGER"):
        await confirm(settings, 7, "mei", "checked", nobody)


async def nobody(_: AdjustStock) -> None:
    raise AssertionError("nothing is confirmed")
