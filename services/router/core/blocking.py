"""Blocked visitor addresses: single ones and networks, for the whole workspace.

The one rule: a look-up costs one try for each prefix length in use, however many networks are blocked.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from services.router.core.state import Workspace

NETWORKS_MAX = 10_000
ADDRESSES_KEPT_MAX = 10_000
"""An address is read at each chat's request, and by monitors; to read it takes longer than to decide what follows from it."""


def block(ws: Workspace, network: str) -> bool:
    """Blocks a network (CIDR notation, as `schemas` has made it); False where it was blocked before or there are too many."""
    blocks = ws.profile.blocked
    if network in blocks or len(blocks) >= NETWORKS_MAX:
        return False
    blocks[network] = ws.now_ms
    _enter(ws, network)
    ws.touch(ws.profile)
    return True


def unblock(ws: Workspace, network: str) -> None:
    """Lifts a block; what was not blocked stays so."""
    if ws.profile.blocked.pop(network, None) is None:
        return
    length, prefix = _place(ip_network(network))
    del ws.blocked[length][prefix]
    if not ws.blocked[length]:
        del ws.blocked[length]
    ws.touch(ws.profile)


@lru_cache(maxsize=ADDRESSES_KEPT_MAX)
def address(ip: str | None) -> IPv4Address | IPv6Address | None:
    """A visitor's address, or None where it is none; an IPv4 one that is written as IPv6 counts as IPv4."""
    try:
        parsed = None if ip is None else ip_address(ip.strip())
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


@lru_cache(maxsize=ADDRESSES_KEPT_MAX)
def written(ip: str | None) -> str | None:
    """A visitor's address as it is written everywhere here, or None where it is none."""
    parsed = address(ip)
    return None if parsed is None else str(parsed)


def is_blocked(ws: Workspace, ip: str | None) -> bool:
    """Whether a visitor's address lies in a blocked network; what is no address is in none."""
    parsed = address(ip) if ws.blocked else None
    if parsed is None:
        return False
    bits = int(parsed)
    return any(
        version == parsed.version and bits >> host_bits in prefixes
        for (version, host_bits), prefixes in ws.blocked.items()
    )


def rebuild(ws: Workspace) -> None:
    """Enters the stored blocks, after a restore."""
    for network in ws.profile.blocked:
        _enter(ws, network)


def _enter(ws: Workspace, network: str) -> None:
    length, prefix = _place(ip_network(network))
    ws.blocked.setdefault(length, {})[prefix] = None


def _place(network: IPv4Network | IPv6Network) -> tuple[tuple[int, int], int]:
    """IP version and number of host bits, and what an address in the network reads without these."""
    host_bits = network.max_prefixlen - network.prefixlen
    return (network.version, host_bits), int(network.network_address) >> host_bits
