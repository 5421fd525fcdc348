"""Which shops can be told of parcels, and how many parcels are under way at a time."""

from dataclasses import replace
from pathlib import Path

import pytest

from streams.clients import CLIENTS
from streams.clients.calls import Access, Rate
from streams.polling.accounts import Account, known
from streams.shipping.accounts import AT_ONCE_MAX, CALLS_MAX, Shop, accounts_of, told_shops

WITHIN_S = 10.0


def an_account(platform: str, rate: Rate | None = None) -> Account:
    access = Access(platform=platform, shop="s", rate=rate, base_url="https://api.example.com/x")
    return Account(client=CLIENTS[platform], access=access)


@pytest.mark.parametrize("platform", CLIENTS)
@pytest.mark.parametrize("own", [None, Rate(per_s=0.01, burst=1, stated=""), 100])
def test_no_attempt_spends_its_time_waiting_for_its_turn(
    platform: str, own: Rate | int | None
) -> None:
    rate = Rate(per_s=own, burst=1, stated="") if isinstance(own, int) else own
    account = an_account(platform, rate)

    [(id_, host, at_once)] = told_shops({(platform, "s"): account}, WITHIN_S)

    assert (id_, host) == (f"{platform}:s", "api.example.com")
    assert 1 <= at_once <= AT_ONCE_MAX
    client = account.client
    details = rate or client.details_rate or client.rate
    # All calls of all attempts, one after the other, are made within the time of one.
    assert at_once == 1 or at_once * CALLS_MAX / details.per_s <= WITHIN_S


def test_a_shop_that_may_be_asked_seldom_tells_one_parcel_at_a_time() -> None:
    def at_once(*account: object) -> int:
        (shop,) = told_shops({("p", "s"): an_account(*account)}, WITHIN_S)  # type: ignore[arg-type]
        return shop.at_once

    assert (at_once("amazon"), at_once("douyin")) == (1, 4)
    assert at_once("douyin", Rate(per_s=0.7, burst=9, stated="")) == 2


def test_a_platform_that_cannot_be_told_is_no_destination_and_others_are() -> None:
    silent = an_account("taobao")
    silent = silent.model_copy(update={"client": replace(silent.client, ships=None)})
    found = {("taobao", "s"): silent, ("jd", "s"): an_account("jd")}

    assert [shop.id for shop in told_shops(found, WITHIN_S)] == ["jd:s"]
    assert told_shops({}, WITHIN_S) == []
    assert isinstance(told_shops(found, WITHIN_S)[0], Shop)
    assert accounts_of(found)("jd", "another") is None


def test_a_shops_file_may_say_nothing_of_apis(tmp_path: Path) -> None:
    file = tmp_path / "shops.toml"
    file.touch(0o600)
    file.write_text('[[shops]]\nplatform = "mall"\nshop = "own"\nsecrets = ["0123456789abcdef"]\n')

    assert known(file) == {}
