"""Blocked visitor addresses: single ones and networks, for the whole workspace.

The one rule: a look-up costs one try for each prefix length in use, however many networks are blocked.
"""

from ipaddress import ip_address, ip_network

from services.router.core.state import Workspace

NETWORKS_MAX = 10_000


def block(ws: Workspace, network: str) -> bool:
    """Blocks a network (CIDR notation, as `schemas` has made it); False where it was blocked before or there are too many."""
    blocks = ws.profile.blocked
    if network in blocks or len(blocks) >= NETWORKS_MAX:
        return False
    blocks[network] = ws.now_ms
    _count(ws, network, 1)
    ws.changed["profile", ""] = None
    return True


def unblock(ws: Workspace, network: str) -> None:
    """Lifts a block; what was not blocked stays so."""
    if ws.profile.blocked.pop(network, None) is not None:
        _count(ws, network, -1)
        ws.changed["profile", ""] = None


def is_blocked(ws: Workspace, ip: str | None) -> bool:
    """Whether a visitor's address lies in a blocked network; what is no address is in none."""
    if ip is None or not ws.profile.blocked:
        return False
    try:
        address = ip_address(ip.strip())
    except ValueError:
        return False
    return any(
        count > 0
        and version == address.version
        and _network(address.compressed, prefix) in ws.profile.blocked
        for (version, prefix), count in ws.block_prefixes.items()
    )


def rebuild(ws: Workspace) -> None:
    """Counts the prefix lengths of the stored blocks, after a restore."""
    for network in ws.profile.blocked:
        _count(ws, network, 1)


def _count(ws: Workspace, network: str, change: int) -> None:
    parsed = ip_network(network)
    length = (parsed.version, parsed.prefixlen)
    ws.block_prefixes[length] = ws.block_prefixes.get(length, 0) + change


def _network(address: str, prefix: int) -> str:
    return str(ip_network((address, prefix), strict=False))
