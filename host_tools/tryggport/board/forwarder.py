"""The network between a virtual board and the world: one loopback forwarder for each target that the firmware resolves.

While the network is down no byte passes in either direction and no connection ends: what is under way waits, as
retransmissions would. `delay_ms` is the round trip time. A power cut leaves the far side with a dead peer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from typing import Any

_CHUNK = 1 << 16
_QUEUE = 64
_RESET = struct.pack("ii", 1, 0)
Target = tuple[int, str, int]


class Network:
    """`halfopen_s`: how long a dead board's connections stay open and silent towards the far side before they are reset."""

    def __init__(self, halfopen_s: float = 0.0) -> None:
        self.halfopen_s = halfopen_s
        self.delay_ms = 0.0
        self.link = True
        self._up = asyncio.Event()
        self._up.set()
        self._ports: dict[Target, int] = {}
        self._sockets: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._lives: set[_Connection] = set()

    @property
    def up(self) -> bool:
        return self._up.is_set()

    def switch(self, up: bool, link: bool) -> None:
        """`link` is what the board's interface reports; a network that is down behind a good link is silent."""
        self.link = link
        if up:
            self._up.set()
        else:
            self._up.clear()

    async def route(self, kind: int, host: str, port: int) -> int:
        """The loopback port that leads to the target. Raises OSError when the name is unknown or the network is down."""
        if not self.up:
            raise OSError("network down")
        target = (kind, host, port)
        if target not in self._ports:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(host, port, type=kind)
            family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
            forward = self._tcp if kind == socket.SOCK_STREAM else self._udp
            self._ports[target] = forward(family, address)
        return self._ports[target]

    def drop_board(self) -> None:
        """The board has lost its power: its connections die without a word to the far side."""
        for connection in list(self._lives):
            connection.orphan(self.halfopen_s)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in self._sockets:
            each.close()

    def _listen(self, kind: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET, kind)
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        self._sockets.append(listener)
        return listener

    def _tcp(self, family: int, address: Any) -> int:
        listener = self._listen(socket.SOCK_STREAM)
        listener.listen(16)
        self._spawn(self._accept(listener, family, address))
        return int(listener.getsockname()[1])

    async def _accept(self, listener: socket.socket, family: int, address: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(listener)
            self._spawn(self._serve(near, family, address))

    async def _serve(self, near: socket.socket, family: int, address: Any) -> None:
        far = socket.socket(family, socket.SOCK_STREAM)
        far.setblocking(False)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(self, near, far)
        self._lives.add(connection)
        try:
            await connection.run(address)
        finally:
            self._lives.discard(connection)
            near.close()
            far.close()

    def _udp(self, family: int, address: Any) -> int:
        listener = self._listen(socket.SOCK_DGRAM)
        self._spawn(self._datagrams(listener, family, address))
        return int(listener.getsockname()[1])

    async def _datagrams(self, listener: socket.socket, family: int, address: Any) -> None:
        loop = asyncio.get_running_loop()
        ways: dict[Any, socket.socket] = {}
        while True:
            data, source = await loop.sock_recvfrom(listener, _CHUNK)
            if source not in ways:
                ways[source] = far = socket.socket(family, socket.SOCK_DGRAM)
                far.setblocking(False)
                self._sockets.append(far)
                with contextlib.suppress(OSError):
                    far.connect(address)
                self._spawn(self._answers(far, listener, source))
            self._spawn(self._datagram(ways[source], None, data))

    async def _answers(self, far: socket.socket, listener: socket.socket, source: Any) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await loop.sock_recv(far, _CHUNK)
            except ConnectionError:
                continue
            self._spawn(self._datagram(listener, source, data))

    async def _datagram(self, to: socket.socket, address: Any, data: bytes) -> None:
        """One datagram on its way; it is lost when the network is down at either end of the delay."""
        if self.up:
            await asyncio.sleep(self.delay_ms / 2000)
        if self.up:
            with contextlib.suppress(OSError):
                if address is None:
                    to.send(data)
                else:
                    to.sendto(data, address)

    async def passing(self) -> None:
        await self._up.wait()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Connection:
    """One TCP connection: `near` is the board's end, `far` the target's."""

    def __init__(self, network: Network, near: socket.socket, far: socket.socket) -> None:
        self._network = network
        self._near, self._far = near, far
        self._halfopen_s: float | None = None
        self._work: asyncio.Task[None] | None = None

    def orphan(self, halfopen_s: float) -> None:
        self._halfopen_s = halfopen_s
        if self._work:
            self._work.cancel()

    async def run(self, address: Any) -> None:
        self._work = asyncio.get_running_loop().create_task(self._forward(address))
        try:
            await asyncio.wait([self._work])
        finally:
            self._work.cancel()
        if self._halfopen_s:
            await asyncio.sleep(self._halfopen_s)
        if self._halfopen_s is not None:
            self._reset()

    async def _forward(self, address: Any) -> None:
        loop = asyncio.get_running_loop()
        await self._network.passing()
        await asyncio.sleep(self._network.delay_ms / 1000)
        try:
            await loop.sock_connect(self._far, address)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._way(self._near, self._far))
                ways.create_task(self._way(self._far, self._near))
        except* OSError:
            self._reset()

    async def _way(self, source: socket.socket, sink: socket.socket) -> None:
        """Bytes in one direction, each chunk half a round trip after it came, until the source has ended."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUE)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take_in(source, queue))
            data = b"-"
            while data:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._network.passing()
                if data:
                    await loop.sock_sendall(sink, data)
            sink.shutdown(socket.SHUT_WR)

    async def _take_in(self, source: socket.socket, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        data = b"-"
        while data:
            try:
                data = await loop.sock_recv(source, _CHUNK)
            except OSError:
                await self._network.passing()
                raise
            await queue.put((loop.time() + self._network.delay_ms / 2000, data))

    def _reset(self) -> None:
        for end in (self._near, self._far):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
