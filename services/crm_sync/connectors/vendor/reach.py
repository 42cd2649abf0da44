"""The way to a vendor's servers: where a name leads is looked up here, judged, and then connected to.

The one rule: what was judged is what is connected to. The sockets get the address and not the name, so a name that leads elsewhere a
moment later (DNS rebinding) changes nothing; the certificate is still held against the name.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address

import httpx

ADDRESSES_MAX = 4
"""Addresses of one name that are tried, in the order of the answer."""
HOSTS_MAX = 4
"""Hosts an account leads to: the API's, the login's, and one that a login may name."""
LOOKUP_LIMIT_S = 5.0

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as text. Raises OSError where there are none."""


class AddressForbidden(httpx.ConnectError):
    """The name leads where this account must not go. Nothing was sent."""


class Reach(httpx.AsyncBaseTransport):
    """Sends requests of one account to public addresses only, or to any where `private_addresses` allows it.

    Without TLS it goes to loopback alone. Redirects are not followed, by this or by who uses it.
    """

    def __init__(self, *, private_addresses: bool, resolve: Resolve | None = None) -> None:
        self._private_addresses = private_addresses
        self._resolve = resolve or _resolved
        # A transport for each host: connections are pooled by address, and two hosts of one address have two certificates.
        self._transports: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response once its head is there. Raises httpx's errors; AddressForbidden is one of connecting."""
        host = request.url.raw_host.decode("ascii")
        transport = self._transport_of(host)
        failure: httpx.ConnectError | None = None
        for address in await self._judged(request.url, host):
            there = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions | {"sni_hostname": host},
            )
            try:
                return await transport.handle_async_request(there)
            except httpx.ConnectError as error:
                failure = error
        raise failure or httpx.ConnectError("no address")

    async def aclose(self) -> None:
        """Close the connections."""
        for transport in self._transports.values():
            await transport.aclose()

    def _transport_of(self, host: str) -> httpx.AsyncHTTPTransport:
        made = self._transports.get(host)
        if made is None:
            if len(self._transports) >= HOSTS_MAX:
                raise AddressForbidden("too many hosts")
            made = self._transports[host] = httpx.AsyncHTTPTransport(verify=_certificates())
        return made

    async def _judged(self, url: httpx.URL, host: str) -> Sequence[str]:
        """The addresses of this host. One that is forbidden condemns them all: an honest name has none."""
        try:
            async with asyncio.timeout(LOOKUP_LIMIT_S):
                found = await self._resolve(host.strip("[]"), url.port or 443)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("lookup took too long") from error
        except OSError as error:
            raise httpx.ConnectError("lookup failed") from error
        addresses = [_plain(ip_address(one)) for one in found[:ADDRESSES_MAX]]
        if url.scheme != "https" and not all(one.is_loopback for one in addresses):
            raise AddressForbidden("without TLS")
        if not self._private_addresses and not all(_is_public(one) for one in addresses):
            raise AddressForbidden("a private address")
        return [str(one) for one in addresses]


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address that is written as IPv6 is judged as what it is."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    # Tunnels carry an IPv4 address inside, which may be a private one.
    tunnel = isinstance(address, IPv6Address) and (address.sixtofour or address.teredo)
    return address.is_global and not address.is_multicast and not tunnel


@cache
def _certificates() -> ssl.SSLContext:
    """One for all accounts: reading the authorities takes a while."""
    return httpx.create_ssl_context()


async def _resolved(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
