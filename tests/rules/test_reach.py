"""Nothing is sent to an address by which our own house could be reached, however it is written."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from hypothesis import given
from hypothesis import strategies as st

from streams.callbacks.reach import (
    ForbiddenAddress,
    ForbiddenUrl,
    PublicResolver,
    connector,
    is_public,
    reachable,
    readable,
)

HOSTILE = [
    # not by https
    "http://shop.example.org/hook", "ftp://shop.example.org/", "file:///etc/passwd",
    "gopher://shop.example.org:70/_x", "javascript:alert(1)", "//shop.example.org/x", "", "https://",
    # this machine
    "https://127.0.0.1/", "https://127.1.2.3/", "https://localhost/", "https://LOCALHOST/x",
    "https://localhost./", "https://hooks.localhost/", "https://[::1]/", "https://0.0.0.0/",
    "https://[::]/", "https://0/",
    # the same, in other writings
    "https://2130706433/", "https://0x7f000001/", "https://017700000001/", "https://0x7f.0.0.1/",
    "https://127.1/", "https://0177.0.0.1/", "https://127.0.0.1./", "https://①②⑦.0.0.1/",
    "https://127。0。0。1/", "https://127.0.0.1%00.shop.example.org/", "https://127.0.0.1%2f@x.org/",
    # private networks
    "https://10.0.0.1/", "https://172.16.5.4/", "https://172.31.255.255/", "https://192.168.1.1/",
    "https://[fd00::1]/", "https://[fc00::1]/", "https://100.64.0.1/",
    # link-local, metadata
    "https://169.254.169.254/latest/meta-data/", "https://[fe80::1]/", "https://[fe80::1%25eth0]/",
    "https://100.100.100.200/", "https://168.63.129.16/", "https://metadata.google.internal/",
    "https://[fd00:ec2::254]/",
    # an IPv4 address inside
    "https://[::ffff:127.0.0.1]/", "https://[::ffff:a00:1]/", "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/", "https://[64:ff9b:1::a00:1]/", "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::1]/", "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    # nobody's
    "https://224.0.0.1/", "https://[ff02::1]/", "https://240.0.0.1/", "https://255.255.255.255/",
    "https://192.0.2.1/", "https://198.51.100.7/", "https://203.0.113.9/", "https://198.18.0.1/",
    "https://192.88.99.1/", "https://[2001:db8::1]/",
    # who is meant
    "https://user@shop.example.org/", "https://user:pass@shop.example.org/",
    "https://shop.example.org@127.0.0.1/", "https://shop.example.org:443@10.0.0.1/",
    "https://shop.example.org\\@127.0.0.1/", "https://shop.example.org#@127.0.0.1/",
    "https://127.0.0.1\t.shop.org/", "https://shop.org /", "https://shop.org\r\nHost: x/",
    # names
    "https://intranet/", "https://printer.lan/", "https://db.internal/", "https://shop.example.org./",
    "https://shop..org/", "https://-shop.org/", "https://shоp.org/", "https://ｓhop.org/",
    "https://shop.org\u200b/", "https://shop_1.org/", "https://1.2.3/", "https://a.0x1/",
    # ports
    "https://shop.org:22/", "https://shop.org:6379/", "https://shop.org:80/", "https://shop.org:0/",
    "https://shop.org:99999/", "https://shop.org:port/", "https://8.8.8.8:9092/",
    # too long
    "https://shop.org/" + "x" * 2_000,
]  # fmt: skip


def test_there_are_more_than_forty_of_them():
    assert len(set(HOSTILE)) == len(HOSTILE) >= 40


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_url_is_refused_in_one_sentence_before_anybody_is_asked(url: str):
    with pytest.raises(ForbiddenUrl) as refused:
        readable(url)

    assert str(refused.value).endswith((".", "path."))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.shop.org/orders", "https://hooks.shop.org:8443/a/b?c=d", "https://8.8.8.8/",
        "https://[2606:4700::1111]/x", "https://xn--fiqs8s.xn--fiqz9s/", "https://HOOKS.shop.ORG/x",
    ],
)  # fmt: skip
def test_an_address_of_the_open_internet_is_taken_as_it_is(url: str):
    assert readable(url).url == url


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000/x", "https://localhost/", "http://[::1]:1/"]
)
def test_this_machine_is_reached_only_where_the_installation_says_so(url: str):
    assert readable(url, loopback=True).url == url
    with pytest.raises(ForbiddenUrl):
        readable(url)


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://shop.org/", "https://127.0.0.2/"])
def test_loopback_opens_nothing_else(url: str):
    with pytest.raises(ForbiddenUrl):
        readable(url, loopback=True)


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_never_public(inside: IPv4Address):
    number = int(inside)
    for prefix in (0, 0xFFFF << 32, 0x64FF9B << 96, 0x2002 << 112 | number << 80):
        assert not is_public(IPv6Address(prefix | (number if prefix >> 112 != 0x2002 else 0)))


@given(st.ip_addresses())
def test_what_python_calls_private_is_never_public(address: IPv4Address | IPv6Address):
    if not address.is_global or address.is_multicast:
        assert not is_public(address)


class Names(AbstractResolver):
    """A name server that says something else each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: int = 0):
        said = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            {
                "hostname": host, "host": each, "port": port, "proto": 0, "flags": 0,
                "family": socket.AF_INET6 if ":" in each else socket.AF_INET,
            }
            for each in said
        ]  # fmt: skip

    async def close(self) -> None:
        return


async def test_a_name_with_one_private_address_among_public_ones_is_refused():
    names = PublicResolver(Names(["8.8.8.8", "10.0.0.7"]))

    with pytest.raises(ForbiddenAddress):
        await names.resolve("hooks.shop.org", 443)
    with pytest.raises(ForbiddenUrl, match="private address"):
        await reachable(readable("https://hooks.shop.org/"), names)


async def test_a_name_that_nobody_knows_is_refused_when_it_is_given():
    with pytest.raises(ForbiddenUrl, match="cannot be resolved"):
        await reachable(readable("https://hooks.shop.org/"), PublicResolver(Names([])))


async def a_listener() -> tuple[web.AppRunner, int, list[str]]:
    met: list[str] = []

    async def take(request: web.Request) -> web.Response:
        met.append(request.path)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, runner.addresses[0][1], met


async def test_a_name_that_changes_its_address_after_it_was_looked_at_reaches_nothing():
    runner, port, met = await a_listener()
    names = Names(["8.8.8.8"], ["127.0.0.1"])
    target = readable("https://hooks.shop.org/x")
    try:
        await reachable(target, PublicResolver(names))
        async with aiohttp.ClientSession(
            connector=connector(loopback=False, inner=names)
        ) as session:
            # Refused as a name already, before any address is connected to.
            with pytest.raises(aiohttp.ClientConnectorDNSError):
                await session.post(f"http://hooks.shop.org:{port}/x")
    finally:
        await runner.cleanup()

    assert names.asked == 2
    assert met == []


async def test_the_address_that_is_connected_to_is_looked_at_whoever_resolved_it():
    # An address in the URL is resolved by nobody.
    runner, port, met = await a_listener()
    try:
        async with aiohttp.ClientSession(connector=connector(loopback=False)) as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.post(f"http://127.0.0.1:{port}/x")
        async with (
            aiohttp.ClientSession(connector=connector(loopback=True)) as session,
            session.post(f"http://127.0.0.1:{port}/y") as answer,
        ):
            assert answer.status == 200
    finally:
        await runner.cleanup()

    assert met == ["/y"]


async def test_a_public_name_that_resolves_to_this_machine_is_refused_also_where_loopback_is_open():
    names = PublicResolver(Names(["127.0.0.1"]), loopback=True)

    with pytest.raises(ForbiddenAddress):
        await names.resolve("hooks.shop.org", 443)
    assert await names.resolve("localhost", 443)


def test_the_address_of_a_cloud_that_python_calls_global_is_closed():
    assert ip_address("168.63.129.16").is_global
    assert not is_public(ip_address("168.63.129.16"))
