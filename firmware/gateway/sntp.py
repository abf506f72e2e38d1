"""Asks time servers, for a gateway whose clock is too far behind to be let in (SNTP: RFC 4330, RFC 5905 section 14).

    attempt failed ─> after_failure ─> dates contradict the clock ─> drop what nobody has signed
                                   └─> nobody knows the time ─> ask ─> majority ─> Clock.set ─> next attempt

Nobody signs these answers. One must lie above the clock's floor and within 20 years of it, which also settles the era: NTP's
seconds begin anew in 2036 (TP-WIR-043). Our own certificate sets no limit, for it never expires (IEEE 802.1AR). More than half of
the servers that the gateway was provisioned with must agree (TP-WIR-044): of one or two all, of three two.
This module is imported when a connection has failed and no receipt has told the time, and forgotten afterwards.
"""

import asyncio
import os
import socket
import time

from micropython import const

from gateway.mqtt.opener import nameservers, readable, resolve

_ANSWER_MS = const(2000)  # TP-BND-073
_AGREE_MS = const(5000)
_MAX_SERVERS = const(4)
_MAX_DATAGRAMS = const(8)  # looked at while an answer is awaited
_FIRST_WAIT_MS = const(16_000)
_LONGEST_WAIT_MS = const(1024_000)
_SIZE = const(48)
_ASK = const(0x23)  # leap 0, version 4, mode 3: client
_NTP_S = 2208988800  # from 1900 to 1970
_ERA_MS = 4294967296000
_LIFE_MS = 631152000000  # 20 years


class Refused(ValueError):  # noqa: N818
    """The answer does not tell the time; the text says why."""


class Kiss(Refused):
    """Kiss-o'-death: the server does not want to be asked again."""


def question(nonce):
    """48 bytes; `nonce`: 8 random bytes as transmit timestamp, which tell nothing and come back as originate timestamp."""
    return bytes((_ASK,)) + bytes(39) + nonce


def utc_ms(reply, nonce, floor_ms):
    """Unix time in ms of an answer to `question(nonce)`, None when it is an answer to something else. Raises Refused."""
    if len(reply) < _SIZE or reply[0] & 7 != 4 or not 3 <= reply[0] >> 3 & 7 <= 4 or reply[24:32] != nonce:
        return None
    if reply[1] == 0:
        raise Kiss("refuses (%s)" % "".join(chr(byte) for byte in reply[12:16] if 32 < byte < 127))
    if reply[0] >> 6 == 3 or reply[1] > 15:
        raise Refused("does not know the time itself")
    seconds = int.from_bytes(reply[40:44], "big")
    fraction = int.from_bytes(reply[44:48], "big")
    told = (seconds - _NTP_S) * 1000 + (fraction * 1000 >> 32)
    while told < floor_ms:
        told += _ERA_MS
    if told >= floor_ms + _LIFE_MS or not seconds | fraction:
        raise Refused("tells a time that cannot be")
    return told


def majority(bases, servers):
    """The first of `bases` (UTC ms at uptime 0, one a server) with which more than half of `servers` agree, or None."""
    for base in bases:
        if 2 * sum([abs(base - other) <= _AGREE_MS for other in bases]) > servers:
            return base
    return None


def after_failure(reason, clock, servers, log, retry):
    """An attempt to connect has failed with the text `reason`, and nobody knows the time, or what told it is doubtful.

    `servers`: list of (host, port), where one that must not be asked again becomes None; `log(text)`; `retry()` has the next
    attempt brought forward.
    """
    expired = "has expired" in reason
    if expired or "starts in the future" in reason:
        if _dates_failed(clock, expired):
            log("time: dropped, the broker's certificate contradicts it")
            retry()
        elif not any(servers) and clock.utc_ms() is None:
            log("time: unknown, and no time server is set: provision the gateway again, with --time-server")
    if clock.utc_ms() is None and any(servers) and clock.uptime_ms() >= clock.ask_at_ms:
        # Doubling: the longer it has not known the time, the longer it waits before it asks again.
        clock.ask_at_ms = clock.uptime_ms() + max(_FIRST_WAIT_MS, min(clock.uptime_ms(), _LONGEST_WAIT_MS))
        clock.asking = asyncio.create_task(_set_clock(clock, servers, log, retry))


def _dates_failed(clock, expired):
    """Takes back what may be wrong; whether UTC was dropped. The RTC goes back to where it was, and where a certificate
    has expired even by that (an RTC outlives a reset), to the floor; the other way round it may have been right."""
    before_ms = clock.utc_ms()
    known = before_ms is not None
    back_ms = clock.back_ms
    if known and back_ms is None:
        return False
    if expired and not known:
        clock.back_ms = clock.rtc_ms() - clock.uptime_ms() if back_ms is None else back_ms
        clock.write_rtc(clock.floor_ms)
    elif back_ms is not None:
        clock.back_ms = None
        clock.write_rtc(max(clock.floor_ms, back_ms + clock.uptime_ms()))
    if known:
        clock.base_ms = clock.synced_at = None
        clock.on_change(before_ms)
    return known


async def _set_clock(clock, servers, log, retry):
    try:
        bases = []
        for i in range(min(len(servers), _MAX_SERVERS)):
            if servers[i] is None:
                continue
            host = servers[i][0]
            try:
                bases.append(await _ask(servers[i], clock))
            except Kiss as e:
                servers[i] = None
                log("time: %s %s: not asked again" % (host, e))
            except Refused as e:
                log("time: %s %s" % (host, e))
            except (OSError, asyncio.TimeoutError):
                log("time: %s does not answer: let UDP port %d through, or provision the gateway again" % servers[i])
            base = majority(bases, len(servers))
            if clock.utc_ms() is not None:
                return
            if base is not None:
                clock.back_ms = clock.rtc_ms() - clock.uptime_ms()
                clock.synced_at = None
                clock.set(base + clock.uptime_ms())
                log("time: %04d-%02d-%02d by %s, not confirmed yet" % (time.gmtime()[:3] + (host,)))
                retry()
                return
        if len(bases) > 1:
            log("time: the time servers do not agree")
    finally:
        clock.asking = None


async def _ask(server, clock):
    """UTC ms at uptime 0 by one server. Raises Refused, OSError, asyncio.TimeoutError."""
    host, port = server
    address = (await resolve(host, nameservers, {}))[0]
    nonce = os.urandom(8)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.connect(socket.getaddrinfo(address, port)[0][-1])
        sent = clock.uptime_ms()
        sock.send(question(nonce))
        for _ in range(_MAX_DATAGRAMS):
            await asyncio.wait_for_ms(readable(sock), max(0, sent + _ANSWER_MS - clock.uptime_ms()))
            told = utc_ms(sock.recv(_SIZE), nonce, clock.floor_ms)
            if told is not None:
                return told - (sent + clock.uptime_ms()) // 2
        raise OSError("garbage")
    finally:
        sock.close()
