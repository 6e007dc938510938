"""Whether numeric addresses and names are on the internet. This module resolves and sends nothing."""

import ipaddress

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST6 = ipaddress.ip_network("2000::/3")
FAKE = ipaddress.ip_network("198.18.0.0/15")
"""Addresses for benchmarks (RFC 2544), which some VPNs give to every name and replace by the real ones on the way."""
LOCAL_NAMES = ("localhost", "local", "internal", "intranet", "lan", "home.arpa")
"""The endings of names that no public server answers (RFC 6761, 6762, 8375; ICANN's `internal`)."""

_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's metadata and DNS, an address of the internet that leads to the host of a machine
        "192.0.0.0/24",  # IETF protocol assignments; 192.0.0.192 is Oracle Cloud's metadata
        "192.88.99.0/24",  # relays of 6to4, given up by RFC 7526
        "3fff::/20",  # documentation (RFC 9637)
    )
)
"""Blocks that Python's `is_global`, which changes from version to version, does not exclude."""


def is_public(text: str) -> bool:
    """Whether a numeric address is on the internet. An IPv4 address inside an IPv6 address is judged as itself."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if any(address in network for network in _NOT_PUBLIC):
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(address.packed[-4:])
    if inner is not None:
        return is_public(str(inner))
    return address in _UNICAST6 and address.is_global


def is_local_name(host: str) -> bool:
    """Whether a name is valid only on one machine or in one network: `localhost`, `intranet`, `nas.lan`."""
    name = host.rstrip(".").lower()
    return "." not in name or any(name.endswith(f".{end}") for end in LOCAL_NAMES)


def is_fake(address: str) -> bool:
    """Whether a numeric address is a fake address of VPNs."""
    return ipaddress.ip_address(address.partition("%")[0]) in FAKE
