"""
Which addresses a subscriber may have: none by which our own house could be reached.

A URL is looked at twice. When it is given (`readable`, `reachable`): https, no user, a port for the
web, a name in plain letters, every address of which is a public one. And at every connection: names
are resolved by `PublicResolver`, which refuses a name as soon as *one* of its addresses is not
public, and the socket is made by `public_socket`, which looks at the very address that is connected
to. So a name that changes its address after it was looked at (DNS rebinding) is refused there, and
nothing depends on how somebody else reads a URL.

Promise: nothing is sent to an address that is not public; redirects are nobody's to follow here.
Loopback alone may be allowed, by a setting, for trials on one machine.
"""

import asyncio
import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from schemas.errors import Rejected

Address = IPv4Address | IPv6Address

URL_LENGTH_MAX = 2_000
#: A name has to be resolved within this, s.
RESOLVED_WITHIN_S = 5.0
PORTS: Final = frozenset({443, 8443})
#: Labels of letters, digits and hyphens, at least two, the last one with a letter: no number in any
#: writing (`2130706433`, `0x7f.1`, `127.1`, `017700000001`) is a name like that.
_NAME = re.compile(
    r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
#: What these mean is decided by whoever's machine it is.
_PRIVATE_ZONES: Final = (
    "localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "localdomain",
    "home.arpa", "in-addr.arpa", "ip6.arpa", "test", "example", "invalid", "onion", "alt",
)  # fmt: skip
#: Networks that Python calls global, or calls by another name in some of its versions.
_CLOSED: Final[tuple[IPv4Network | IPv6Network, ...]] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),  # carriers' NAT; some clouds' metadata (100.100.100.200)
    IPv4Network("168.63.129.16/32"),  # a cloud's own services, at a public address
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv4Network("198.18.0.0/15"),
    IPv6Network("64:ff9b::/96"),  # NAT64: an IPv4 address inside
    IPv6Network("64:ff9b:1::/48"),
    IPv6Network("100::/64"),
    IPv6Network("2001::/23"),  # protocols, Teredo
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),  # 6to4: an IPv4 address inside
    IPv6Network("3fff::/20"),
    IPv6Network("5f00::/16"),
    IPv6Network("fec0::/10"),
)
#: The whole of what is given out for the internet.
_INTERNET6 = IPv6Network("2000::/3")


class ForbiddenUrl(Rejected):
    """Nothing is sent to this address."""


class ForbiddenAddress(OSError):  # noqa: N818  our errors are sentences
    """A name has an address that nothing is sent to; an OSError, as a connection fails."""


class Target(NamedTuple):
    """A URL that was looked at."""

    url: str
    #: What is called when it is told to rest: `host:port`.
    host: str
    name: str
    port: int


def readable(url: str, *, loopback: bool = False) -> Target:
    """
    Return *url* as it may be used, without asking anybody. Raises ForbiddenUrl.

    With *loopback* http and any port may be used, to this very machine alone.
    """
    parts = _parts(url)
    name = parts.hostname or ""
    if loopback and _is_loopback_name(name):
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return Target(url, f"{name}:{port}", name, port)
    if parts.scheme != "https":
        raise ForbiddenUrl("A callback goes by https:// alone.")
    port = 443 if parts.port is None else parts.port
    if port not in PORTS:
        raise ForbiddenUrl(f"A callback goes to port {_listed(PORTS)}, not to {port}.")
    _must_be_public(name)
    return Target(url, f"{name}:{port}", name, port)


def _parts(url: str) -> SplitResult:
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ForbiddenUrl(
            "A URL has no blanks, no backslashes and plain letters; write a name of another"
            " alphabet as xn--…."
        )
    if len(url) > URL_LENGTH_MAX:
        raise ForbiddenUrl(f"A URL has at most {URL_LENGTH_MAX} characters.")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ForbiddenUrl("This is no URL; write https://host/path.") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ForbiddenUrl("A callback goes by https://host/path alone.")
    if "@" in parts.netloc or "%" in parts.netloc:
        raise ForbiddenUrl("A URL has no user, no password and no % before its path.")
    if parts.fragment or "#" in url:
        raise ForbiddenUrl("A URL for callbacks has no #.")
    return parts


def _must_be_public(name: str) -> None:
    try:
        address = ip_address(name)
    except ValueError:
        if any(name == zone or name.endswith(f".{zone}") for zone in _PRIVATE_ZONES):
            raise ForbiddenUrl("That name is private: nothing is sent there.") from None
        if _NAME.fullmatch(name) is None:
            raise ForbiddenUrl(
                "The host has to be a full name such as hooks.example.com: no number, no dot at"
                " its end."
            ) from None
        return
    if not is_public(address):
        raise ForbiddenUrl(f"{address} is a private address: nothing is sent there.")


def is_public(address: Address) -> bool:
    """Say whether *address* is one of the open internet and stands for no other."""
    if isinstance(address, IPv6Address) and (
        address not in _INTERNET6 or address.scope_id is not None
    ):
        # Also what has an IPv4 address inside: ::ffff:0:0/96, ::/96.
        return False
    if any(address in closed for closed in _CLOSED if closed.version == address.version):
        return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_unspecified
        and not address.is_loopback
        and not address.is_link_local
    )


def _is_loopback_name(name: str) -> bool:
    return name in ("localhost", "127.0.0.1", "::1")


async def reachable(target: Target, resolver: AbstractResolver) -> None:
    """Resolve *target*'s name once. Raises ForbiddenUrl where it has no or a private address."""
    if _is_loopback_name(target.name):  # `readable` let it through
        return
    try:
        async with asyncio.timeout(RESOLVED_WITHIN_S):
            await resolver.resolve(target.name, target.port)
    except ForbiddenAddress as error:
        raise ForbiddenUrl(f"{error}.") from None
    except (OSError, TimeoutError):
        raise ForbiddenUrl(
            f"{target.name} cannot be resolved now; is the name right, and is it in the DNS?"
        ) from None


class PublicResolver(AbstractResolver):
    """Resolves names, and refuses one that has any address which is not public."""

    def __init__(self, inner: AbstractResolver | None = None, *, loopback: bool = False) -> None:
        self._inner = inner or aiohttp.ThreadedResolver()
        self._loopback = loopback

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of *host*. Raises ForbiddenAddress, OSError."""
        # Whatever family is asked for: an address of the other one gives a name away too.
        found = await self._inner.resolve(host, port, socket.AF_UNSPEC)
        if not found:
            raise OSError(f"{host} has no address")
        for each in found:
            if not allowed(each["host"], loopback=self._loopback and _is_loopback_name(host)):
                raise ForbiddenAddress(f"{host} has a private address: nothing is sent there")
        wanted = [each for each in found if family in (socket.AF_UNSPEC, each["family"])]
        return wanted or found

    async def close(self) -> None:
        """Give the resolver up."""
        await self._inner.close()


def allowed(said: str, *, loopback: bool) -> bool:
    """Say whether something may be sent to the address that is written so."""
    try:
        address = ip_address(said)
    except ValueError:
        return False
    return is_public(address) or (loopback and str(address) in ("127.0.0.1", "::1"))


def connector(
    *, loopback: bool, inner: AbstractResolver | None = None, limit: int = 100
) -> aiohttp.TCPConnector:
    """Return a connector that connects to public addresses alone, whatever it is given."""

    def public_socket(info: Any) -> socket.socket:
        family, kind, protocol, _, where = info
        if not allowed(where[0], loopback=loopback):
            raise ForbiddenAddress("a private address: nothing is sent there")
        return socket.socket(family=family, type=kind, proto=protocol)

    return aiohttp.TCPConnector(
        resolver=PublicResolver(inner, loopback=loopback),
        use_dns_cache=False,
        socket_factory=public_socket,
        limit=limit,
    )


def _listed(ports: frozenset[int]) -> str:
    return " or ".join(map(str, sorted(ports)))
