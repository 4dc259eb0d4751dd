"""The networks that Label Studio must not call, minus those where our ML backend is.

Label Studio refuses private addresses so that nobody can make it fetch from inside the house. Its one switch for
backends (ML_BLOCK_LOCAL_IP) opens only one of the two places that check, so the list itself is replaced.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

LOOPBACK = "127.0.0.0/8"
# Label Studio 1.23.2's own list.
_RESERVED = """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 233.252.0.0/24
    240.0.0.0/4 255.255.255.255/32 ::/128 ::1/128 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48
    100::/64 2001:0000::/32 2001:20::/28 2001:db8::/32 2002::/16 fc00::/7 fe80::/10 ff00::/8
"""


def banned(allowed: Iterable[str] = (LOOPBACK,)) -> list[str]:
    """The reserved networks with the allowed ones cut out of them."""
    left = [ip_network(network) for network in _RESERVED.split()]
    for hole in map(ip_network, allowed):
        left = [part for network in left for part in _without(network, hole)]
    return [str(network) for network in left]


def _without(
    network: IPv4Network | IPv6Network, hole: IPv4Network | IPv6Network
) -> Iterable[IPv4Network | IPv6Network]:
    inside4 = isinstance(network, IPv4Network) and isinstance(hole, IPv4Network)
    inside6 = isinstance(network, IPv6Network) and isinstance(hole, IPv6Network)
    if not (inside4 or inside6) or not network.overlaps(hole):
        return [network]
    if network.prefixlen >= hole.prefixlen:  # all of it is allowed
        return []
    return network.address_exclude(hole)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
