"""Every platform is told of our parcels over real HTTP, and its echo is a statement, not a push."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from agents.shipments import SAYS, Attempt, Hears, Push, PushLine, Told, encoded, pushes_of
from schemas.orders import OrderShipped, ShippedLine, Status, Waybill
from streams.adapters import ADAPTERS
from streams.clients import CLIENTS
from streams.clients.caller import Caller, CallRule
from streams.clients.calls import Access, Rate
from streams.clients.pacing import BreakerRule, RetryRule
from streams.clients.shipping import Shipper
from tests.platforms.desks import DESKS, OWN_CODES
from tests.platforms.families import FAMILIES, SECRET, TOKEN, credentials
from tests.platforms.simulator import Platform

SEED = 20261111
AT_MS = 1_794_355_200_000
FAST = Rate(per_s=2000, burst=2000, stated="a test")
RULE = CallRule(
    RetryRule(attempts_max=5, first_wait_s=9.0, wait_max_s=9.0), BreakerRule(after=3, for_s=60), 5.0
)
#: The carrier's word here that every desk takes.
CARRIER = {"amazon": "UPS"}


class Bench:
    """One shop with one order that is paid, its platform, and the way out to it."""

    def __init__(self, there: Platform, own: dict[str, str], **access: Any) -> None:
        self.there = there
        self.platform = there.family.platform
        self.caller = Caller(RULE, dice=Random(SEED))
        made = Access(
            platform=self.platform,
            shop="s",
            rate=FAST,
            carriers=own,
            **(credentials(there) | access),
        )
        account = CLIENTS[self.platform], made
        self.shipper = Shipper(
            lambda platform, shop: account if (platform, shop) == (self.platform, "s") else None,
            self.caller,
        )
        self.order_id = there.place(1, there.now_ms() - 300_000).id
        self.lines = DESKS[self.platform].lines(there.family.order(self.order_id, 0, 1))

    def shipped(
        self, parcel: int, units: dict[str, int], number: str, carrier: str = "", **more: Any
    ) -> OrderShipped:
        """Our own event of a parcel with these units of lines."""
        gone = more.pop("gone", {})
        left = {id_: self.lines[id_] - gone.get(id_, 0) - units.get(id_, 0) for id_ in self.lines}
        return OrderShipped(
            order=f"{self.platform}:s:{self.order_id}", version=parcel, at_ms=AT_MS, cause="c",
            platform=self.platform, shop="s", order_id=self.order_id, parcel=parcel,
            carrier=carrier or CARRIER.get(self.platform, "SF"), tracking_number=number,
            lines=tuple(
                ShippedLine(
                    line_id=id_, sku="X", platform_sku=id_, quantity=count, left=left[id_]
                )
                for id_, count in units.items()
            ),
            earlier=more.pop("earlier", ()), left=sum(left.values()), reservation="reserved",
            command="c", operator="wei", reason="packed",
        )  # fmt: skip

    async def tell(self, event: OrderShipped) -> list[Attempt]:
        return [await self.shipper.attempt(push) for push in pushes_of(event)]

    def whole(self, number: str = "SF100200300", **more: Any) -> Push:
        (push,) = pushes_of(self.shipped(1, dict(self.lines), number, **more))
        return push

    def status(self) -> Any:
        """What the order says of itself now, read as intake reads it: the echo."""
        (said,) = ADAPTERS[self.platform].parse(self.there.orders[self.order_id].body, "s")
        return said

    @property
    def parcels(self) -> list[Any]:
        return self.there.parcels.get(self.order_id, [])


@asynccontextmanager
async def a_bench(
    platform: str, own: dict[str, str] | None = None, **access: Any
) -> AsyncIterator[Bench]:
    async with Platform(FAMILIES[platform], SEED) as there:
        there.faults.fail = there.faults.throttle = 0
        there.desk = DESKS[platform]
        bench = Bench(there, OWN_CODES.get(platform, {}) if own is None else own, **access)
        try:
            yield bench
        finally:
            await bench.caller.close()


@pytest.mark.parametrize("platform", DESKS)
async def test_a_parcel_is_taken_and_the_platform_then_says_shipped(platform: str) -> None:
    async with a_bench(platform) as bench:
        before = bench.status().status
        (attempt,) = await bench.tell(bench.shipped(1, dict(bench.lines), "SF100200300"))

        assert before is Status.PAID
        assert attempt == Attempt(Told.TAKEN)
        assert [each.number for each in bench.parcels] == ["SF100200300"]
        assert bench.parcels[0].lines == bench.lines
        assert bench.status().status in (Status.SHIPPED, Status.COMPLETED)


@pytest.mark.parametrize("platform", DESKS)
async def test_the_same_push_again_is_taken_for_what_it_is(platform: str) -> None:
    async with a_bench(platform) as bench:
        push = bench.whole()
        once = await bench.shipper.attempt(push)
        again = await bench.shipper.attempt(push)

        assert once.told is Told.TAKEN
        assert again.told in (Told.TAKEN, Told.ALREADY)
        assert len(bench.parcels) == 1


@pytest.mark.parametrize("platform", DESKS)
async def test_a_push_whose_answer_was_lost_is_told_again_and_done_once(platform: str) -> None:
    async with a_bench(platform) as bench:
        bench.there.lose_answers = 1
        push = bench.whole()
        lost = await bench.shipper.attempt(push)
        again = await bench.shipper.attempt(push)

        assert lost.told is Told.AWAY
        assert again.told in (Told.TAKEN, Told.ALREADY)
        assert len(bench.parcels) == 1


@pytest.mark.parametrize("platform", [p for p in DESKS if SAYS[p].hears is Hears.UNITS])
async def test_a_part_of_a_line_whose_answer_was_lost_is_not_told_twice(platform: str) -> None:
    """One unit of several has left; told twice it would be two."""
    async with a_bench(platform) as bench:
        line, units = max(bench.lines.items(), key=lambda item: item[1])
        assert units > 1
        bench.there.lose_answers = 1
        event = bench.shipped(1, {line: 1}, "SF100200300")
        (lost,), (again,) = await bench.tell(event), await bench.tell(event)

        assert lost.told is Told.AWAY
        assert again.told in (Told.TAKEN, Told.ALREADY)
        assert [each.lines for each in bench.parcels] == [{line: 1}]


@pytest.mark.parametrize("platform", DESKS)
async def test_an_order_the_buyer_cancelled_is_refused_for_good(platform: str) -> None:
    async with a_bench(platform) as bench:
        bench.there.close(bench.order_id)
        attempt = await bench.shipper.attempt(bench.whole())

        assert attempt.told is Told.REFUSED
        assert attempt.why
        assert bench.parcels == []


@pytest.mark.parametrize("platform", DESKS)
async def test_what_somebody_shipped_there_by_hand_is_already_told(platform: str) -> None:
    async with a_bench(platform) as bench:
        await bench.shipper.attempt(bench.whole("HAND0001"))
        attempt = await bench.shipper.attempt(bench.whole("SF100200300"))

        assert attempt.told in (Told.ALREADY, Told.TAKEN)
        assert len(bench.parcels) == 1


@pytest.mark.parametrize("platform", DESKS)
async def test_an_order_nobody_has_there_is_refused(platform: str) -> None:
    async with a_bench(platform) as bench:
        there = bench.there
        push = bench.whole()
        if platform == "shopify":
            there.closed.add(bench.order_id)
        else:
            there.desk = _Nobody(DESKS[platform])
        attempt = await bench.shipper.attempt(push)

        assert attempt.told is Told.REFUSED


class _Nobody:
    """The platform does not find the order."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def show(self, *told: Any, **more: Any) -> None:
        self._desk.show(*told, **more)

    def answer(self, there: Any, request: Any, body: bytes) -> Any:
        read = self._desk.read
        self._desk._units = {i: self._desk.lines(there.family.order(i, 0, 1)) for i in there.orders}
        return self._desk.no("unknown") if read(request, body) else None


@pytest.mark.parametrize("platform", DESKS)
async def test_a_throttled_platform_is_told_later(platform: str) -> None:
    async with a_bench(platform) as bench:
        bench.there.faults.throttle = 1.0
        attempt = await bench.shipper.attempt(bench.whole())

        assert attempt.told is Told.LATER
        assert len(bench.there.calls) == 1, "another attempt is the queue's to make"
        if platform in ("shopify", "woocommerce"):
            assert attempt.retry_after_s == 0.05


@pytest.mark.parametrize("platform", DESKS)
async def test_a_platform_that_is_down_is_told_later_and_left_alone_after_a_while(
    platform: str,
) -> None:
    async with a_bench(platform) as bench:
        bench.there.faults.down = True
        attempts = [await bench.shipper.attempt(bench.whole()) for _ in range(4)]

        assert {attempt.told for attempt in attempts} == {Told.AWAY}
        assert "left alone" in attempts[-1].why
        assert 0 < (attempts[-1].retry_after_s or 0) <= 60
        assert bench.parcels == []


@pytest.mark.parametrize("platform", DESKS)
async def test_credentials_that_are_refused_are_a_persons_to_renew_and_no_secret_is_said(
    platform: str,
) -> None:
    async with a_bench(platform) as bench:
        bench.there.faults.locked = True
        attempt = await bench.shipper.attempt(bench.whole())

        assert attempt.told is Told.DENIED
        assert "credentials" in attempt.why
        assert SECRET not in attempt.why
        assert TOKEN not in attempt.why


@pytest.mark.parametrize("platform", sorted(set(DESKS) - {"shopify", "woocommerce", "amazon"}))
async def test_a_wrong_signature_ships_nothing(platform: str) -> None:
    async with a_bench(platform, app_secret="another") as bench:  # noqa: S106  opens nothing
        attempt = await bench.shipper.attempt(bench.whole())

        assert attempt.told is Told.DENIED
        assert bench.parcels == []


@pytest.mark.parametrize("platform", sorted(set(DESKS) - {"shopee"}))
async def test_a_carrier_nobody_knows_is_refused_without_a_call(platform: str) -> None:
    async with a_bench(platform) as bench:
        attempt = await bench.shipper.attempt(bench.whole(carrier="PIGEON"))

        assert attempt.told is Told.REFUSED
        assert "PIGEON" in attempt.why
        assert "[shops.api.carriers]" in attempt.why
        assert bench.there.calls == []


@pytest.mark.parametrize("platform", [platform for platform in DESKS if DESKS[platform].carriers])
async def test_a_code_that_the_platform_does_not_know_is_refused(platform: str) -> None:
    async with a_bench(platform, own={"SF": "999", "UPS": "999"}) as bench:
        attempt = await bench.shipper.attempt(bench.whole())

        assert attempt.told is Told.REFUSED
        assert bench.parcels == []


@pytest.mark.parametrize("platform", DESKS)
async def test_an_order_in_two_parcels_is_told_as_far_as_the_platform_can_hear(
    platform: str,
) -> None:
    async with a_bench(platform) as bench:
        first, second = _in_two(bench.lines)
        assert second
        one = bench.shipped(1, first, "SF100200300")
        two = bench.shipped(
            2, second, "SF100200301", gone=first, earlier=(Waybill(one.carrier, "SF100200300"),)
        )
        told = await bench.tell(one)
        between = bench.status().status
        told += await bench.tell(two)

        hears = SAYS[platform].hears
        assert {each.told for each in told} == {Told.TAKEN}
        numbers = [each.number for each in bench.parcels]
        if hears is Hears.WHOLE:
            assert between is Status.PAID
            assert numbers == ["SF100200301"]
            if SAYS[platform].waybills_max > 1:
                assert bench.parcels[0].others == ["SF100200300"]
        else:
            assert numbers[-1] == "SF100200301"
        if hears is Hears.UNITS:
            assert [each.lines for each in bench.parcels] == [first, second]
            assert between in (Status.PARTIALLY_SHIPPED, Status.PAID)
        assert bench.status().status in (Status.SHIPPED, Status.COMPLETED)


def _in_two(lines: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """The first line, or one unit of the only one; and the rest."""
    (first, units), *others = lines.items()
    if others:
        return {first: units}, dict(others)
    return {first: 1}, {first: units - 1} if units > 1 else {}


async def test_a_shop_nobody_has_credentials_of_is_refused_with_what_to_do() -> None:
    async with a_bench("pdd") as bench:
        push = bench.whole()
        other = Push(
            **{name: getattr(push, name) for name in push.__struct_fields__} | {"shop": "t"}
        )
        attempt = await bench.shipper.attempt(other)

        assert attempt.told is Told.REFUSED
        assert "[shops.api]" in attempt.why


def test_every_client_that_ships_is_declared_and_the_other_way_round() -> None:
    assert {name for name, client in CLIENTS.items() if client.ships} == set(SAYS)
    assert set(DESKS) | {"tmall"} == set(SAYS)


def test_a_push_in_a_queue_is_bytes_that_never_change() -> None:
    push = Push(
        order="pdd:s:1", platform="pdd", shop="s", order_id="1", parcel=1,
        waybills=(Waybill("SF", "SF1"),), last=True, shipped_ms=AT_MS,
        lines=(PushLine(line_id="a", platform_sku=None, quantity=2),),
    )  # fmt: skip

    assert encoded(push) == (
        b'{"order":"pdd:s:1","platform":"pdd","shop":"s","order_id":"1","parcel":1,'
        b'"waybills":[["SF","SF1"]],"lines":[{"line_id":"a","platform_sku":null,"quantity":2}],'
        b'"last":true,"shipped_ms":1794355200000}'
    )
    assert push.id == "pdd:s:1/1"
