"""Where a SIP URI leads: transport, host and port (RFC 3263 without NAPTR), DNS SRV in the order of RFC 2782."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryggport.errors import TryggError

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

UDP, TCP, TLS = "UDP", "TCP", "TLS"
PORT = {UDP: 5060, TCP: 5060, TLS: 5061}
DNS_S = 3.0
_URI = re.compile(
    r"(sips?):(?:([^@;:\s]+)@)?(\[[0-9a-fA-F:.]+\]|[^@;:,\s/?]+)(?::([0-9]{1,5}))?((?:;[^;\s]*)*)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Uri:
    """A SIP address as people write it: ``sips:alarm@arc.example``, ``sip:alarm@10.0.0.5:5060;transport=tcp``."""

    text: str
    secure: bool
    host: str
    port: int | None
    transport: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send. `name`: the host of the URI, which a TLS certificate must be for (RFC 5922)."""

    transport: str
    host: str
    port: int
    name: str


@dataclass(frozen=True, slots=True)
class Service:
    """One SRV record."""

    priority: int
    weight: int
    port: int
    host: str


def parse_uri(text: str) -> Uri:
    """Raises TryggError."""
    found = _URI.fullmatch(text.strip())
    port = int(found[4]) if found and found[4] else None
    if found is None or (port is not None and not 0 < port < 65536):
        raise TryggError(
            f"{text!r} is not a SIP address.", "Examples: sips:alarm@arc.example, sip:alarm@10.0.0.5:5060;transport=tcp",
            usage=True,
        )  # fmt: skip
    scheme, _, host, _, parameters = found.groups()
    secure = scheme.lower() == "sips"
    transport = re.search(r";transport=(udp|tcp|tls)(?:;|$)", parameters, re.IGNORECASE)
    chosen = TLS if secure else transport[1].upper() if transport else None
    if "transport=" in parameters.lower() and transport is None:
        raise TryggError(f"{text!r} names a transport that is none of udp, tcp, tls.", usage=True)
    return Uri(text.strip(), secure or chosen == TLS, host.strip("[]"), port, chosen)


def in_order(services: Iterable[Service], draw: Callable[[int], int]) -> list[Service]:
    """The order in which to try SRV records: by priority, within one by weighted lot (RFC 2782).

    `draw(n)` gives a random number of 0…n.
    """
    left = sorted(services, key=lambda s: (s.priority, s.weight))
    ordered = []
    while left:
        equal = [s for s in left if s.priority == left[0].priority]
        lot = draw(sum(s.weight for s in equal))
        for service in equal:
            lot -= service.weight
            if lot <= 0:
                break
        ordered.append(service)
        left.remove(service)
    return ordered


class Locator:
    """Finds targets; a name that the DNS no longer answers for keeps its last good ones."""

    def __init__(self, draw: Callable[[int], int], resolver: Resolver | None = None) -> None:
        self._draw = draw
        self._resolver = resolver
        self._known: dict[str, list[Service]] = {}

    async def targets(self, uri: Uri) -> list[Target]:
        """Where to send, best first; never empty."""
        plain = Target(uri.transport or UDP, uri.host, uri.port or PORT[uri.transport or UDP], uri.host)
        if uri.port is not None or _is_address(uri.host):
            return [plain]
        found = []
        for transport in (uri.transport,) if uri.transport else (TCP, UDP):
            name = {TLS: "_sips._tcp", TCP: "_sip._tcp", UDP: "_sip._udp"}[transport]
            services = await self._services(f"{name}.{uri.host}")
            ordered = in_order(services, self._draw)
            found += [Target(transport, service.host, service.port, uri.host) for service in ordered]
        return found or [plain]

    async def _services(self, name: str) -> list[Service]:
        import dns.asyncresolver  # here: it would slow the start of every command
        import dns.exception
        import dns.resolver

        resolver = self._resolver or dns.asyncresolver.get_default_resolver()
        try:
            answer = await resolver.resolve(name, "SRV", lifetime=DNS_S)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            self._known.pop(name, None)
            return []
        except (dns.exception.DNSException, OSError):
            return self._known.get(name, [])
        found = [Service(r.priority, r.weight, r.port, r.target.to_text(omit_final_dot=True)) for r in answer]
        found = [service for service in found if service.host]  # "." says: no such service
        self._known[name] = found
        return found


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
