"""Opening a connection: DNS by a UDP query of our own, TCP, TLS. Nothing waits except by asyncio.

`socket.getaddrinfo` blocks a board's loop for many seconds when the network is ill, so it is only given dotted quads here.
An opener is an async callable(attempt): 0 when the last connection was good, else how many attempts in a row have failed. The
address changes with every failure, and the one that worked stays. Names are asked again at each attempt; when no name server
answers, the addresses of the last answer serve.
"""

import asyncio
import gc
import random
import socket
from asyncio import core
from errno import EINPROGRESS

from micropython import const
from tls import CERT_REQUIRED  # what `ssl` wraps, in 1 KB of heap

_DNS_MS = const(1500)


def readable(sock):
    """Awaitable: until `sock` can be read or has failed."""
    yield core._io_queue.queue_read(sock)


def writable(sock):
    """Awaitable: until `sock` can be written or has failed."""
    yield core._io_queue.queue_write(sock)


def nameservers():
    """Name servers of the board's Wi-Fi, or of /etc/resolv.conf where there is no `network`."""
    try:
        import network

        return [network.WLAN(network.STA_IF).ifconfig()[3]]
    except ImportError:
        with open("/etc/resolv.conf") as file:
            return [line.split()[1] for line in file if line.startswith("nameserver")]


def question(host, number):
    """bytes of a DNS query for the IPv4 addresses of `host` (RFC 1035 section 4)."""
    out = number.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0"
    for label in host.split("."):
        out += bytes((len(label),)) + label.encode()
    return out + b"\0\0\1\0\1"


def answers(reply, query):
    """The IPv4 addresses in a DNS reply, [] when it does not belong to `query`, has an error or is malformed."""
    i = len(query)
    found = []
    if reply[:2] != query[:2] or reply[12:i] != query[12:] or not reply[2] & 0x80 or reply[3] & 0x0F:
        return found
    try:
        for _ in range(reply[6] << 8 | reply[7]):
            while 0 < reply[i] < 0xC0:
                i += reply[i] + 1
            i += 2 if reply[i] else 1
            size = reply[i + 8] << 8 | reply[i + 9]
            data = reply[i + 10 : i + 10 + size]
            if reply[i : i + 4] == b"\0\1\0\1" and len(data) == 4:
                found.append("%d.%d.%d.%d" % tuple(data))
            i += 10 + size
    except IndexError:
        pass
    return found


async def _ask(host, server):
    query = question(host, random.getrandbits(16))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        address, port = server if isinstance(server, tuple) else (server, 53)
        sock.connect(socket.getaddrinfo(address, port)[0][-1])
        sock.send(query)
        await asyncio.wait_for_ms(readable(sock), _DNS_MS)
        return answers(sock.recv(512), query)
    except (OSError, asyncio.TimeoutError):
        return None
    finally:
        sock.close()


async def resolve(host, servers, known):
    """IPv4 addresses of `host`, kept in the dict `known`; OSError when there are none."""
    if not host.strip("0123456789."):
        return [host]
    for server in (servers() if callable(servers) else servers) * 2:
        found = await _ask(host, server)
        if found:
            known[host] = found
            return found
    if host not in known:
        raise OSError("no address for " + host)
    return known[host]


def tls_opener(addresses, context, server_hostname=None, servers=nameservers, known=None):
    """Opener over TLS, or over plain TCP when `context` is None.

    `addresses`: [(name or dotted quad, port), …] · `context`: one SSLContext, used for every connection and made to verify the
    server's certificate, which MicroPython's default leaves out · `server_hostname`: what the certificate must name, else the host ·
    `servers`: name servers ("ip" or ("ip", port)) or a callable that returns them · `known`: dict of last good addresses, for
    those who want to keep them over a reboot.
    """
    turn = 0
    sock = None
    known = {} if known is None else known
    if context:
        context.verify_mode = CERT_REQUIRED

    async def connect(attempt):
        nonlocal turn, sock
        turn += attempt > 0
        if sock:
            sock.close()  # a failed handshake has parted the TLS stream from it
        host, port = addresses[turn % len(addresses)]
        found = await resolve(host, servers, known)
        sock = socket.socket()
        try:
            sock.setblocking(False)
            try:
                sock.setsockopt(6, 1, 1)  # TCP_NODELAY: small packets do not wait for the peer's delayed ACK
            except OSError:
                pass  # not every port has it
            try:
                sock.connect(socket.getaddrinfo(found[turn // len(addresses) % len(found)], port)[0][-1])
            except OSError as error:
                if error.errno != EINPROGRESS:
                    raise
            await writable(sock)
            if context:
                gc.collect()  # mbedTLS wants large blocks
                return context.wrap_socket(sock, server_hostname=server_hostname or host, do_handshake_on_connect=False)
            return sock
        except BaseException:
            sock.close()
            raise

    return connect


def tcp_opener(addresses, servers=nameservers, known=None):
    """Opener without TLS."""
    return tls_opener(addresses, None, None, servers, known)
