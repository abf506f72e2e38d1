"""The network of the virtual board: down, silent, slow, and what a power cut leaves behind."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from board_port import leave_running, port
from tryggport.board import VirtualBoard

ECHO = """
import asyncio, time
async def main():
    r, w = await asyncio.open_connection("127.0.0.1", {port})
    while True:
        t = time.ticks_ms()
        w.write(b"hello")
        await w.drain()
        if not await r.read(5): break
        print("echo", time.ticks_diff(time.ticks_ms(), t))
        await asyncio.sleep_ms(20)
    print("ended")
asyncio.run(main())
"""


class Echo:
    """Answers TCP and UDP with what it gets; notes when the latest connection ended and how."""

    def __init__(self) -> None:
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp_port = self.udp.getsockname()[1]
        self.received = 0
        self.ended: list[tuple[float, str]] = []
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._accept, self._datagrams)]
        for thread in self.threads:
            thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.tcp.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        how = "end"
        with connection:
            try:
                while data := connection.recv(4096):
                    self.received += len(data)
                    connection.sendall(data)
            except ConnectionError:
                how = "reset"
        self.ended.append((time.monotonic(), how))

    def _datagrams(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, source = self.udp.recvfrom(4096)
                if not data:
                    return
                self.udp.sendto(data, source)

    def close(self) -> None:
        self.tcp.shutdown(socket.SHUT_RDWR)
        self.tcp.close()
        self.udp.sendto(b"", ("127.0.0.1", self.udp_port))
        for thread in self.threads:
            thread.join(5)
        self.udp.close()


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualBoard]:
    with VirtualBoard(tmp_path_factory.mktemp("board"), hosts={"broker.test": "127.0.0.1"}) as board:
        board.wait_for(lambda b: b.booted)
        yield board


@pytest.fixture
def board(shared: VirtualBoard) -> Iterator[VirtualBoard]:
    yield shared
    shared.network(True)
    shared.delay_ms(0)
    shared.power_on()
    shared.reset()
    shared.wait_for(lambda b: b.booted)


def echoes(board: VirtualBoard) -> list[int]:
    return [int(line.split()[1]) for line in board.console().split("\n") if line.startswith("echo ")]


def test_down_is_silent_and_up_goes_on_where_it_was(board: VirtualBoard, echo: Echo) -> None:
    leave_running(board, ECHO.format(port=echo.port))
    board.wait_for(lambda b: len(echoes(b)) >= 3)
    board.network(False)
    time.sleep(0.2)
    before, received, ended = len(echoes(board)), echo.received, len(echo.ended)
    time.sleep(0.5)
    assert (len(echoes(board)), echo.received, len(echo.ended)) == (before, received, ended)
    board.network(True)
    board.wait_for(lambda b: len(echoes(b)) >= before + 3)
    assert max(echoes(board)[before - 1 :]) >= 500
    assert "ended" not in board.console()


def test_a_connection_made_while_down_carries_nothing_until_up(board: VirtualBoard, echo: Echo) -> None:
    with port(board) as run:
        run(
            "import socket, select\n"
            f"there = socket.getaddrinfo('localhost', {echo.port})[0][-1]\ns = socket.socket()\ns.settimeout(0.3)"
        )
        board.network(False, link=True)
        run("s.connect(there)\ns.send(b'x')")
        assert "EAGAIN" in run("try: s.recv(1)\nexcept OSError as e: print(e)")
        board.network(True)
        assert run("s.settimeout(5); print(s.recv(1)); s.close()").strip() == "b'x'"


def test_names_do_not_resolve_while_down(board: VirtualBoard, echo: Echo) -> None:
    with port(board) as run:
        run("import socket, network\nw = network.WLAN(network.STA_IF); w.active(True); w.connect('home', 'secret')")
        assert run("print(w.isconnected(), w.status() == network.STAT_GOT_IP, w.ifconfig()[0])").split()[:2] == [
            "True",
            "True",
        ]
        board.network(False)
        assert "-202" in run(f"try: socket.getaddrinfo('localhost', {echo.port})\nexcept OSError as e: print(e)")
        assert run("print(w.isconnected(), network.LAN().isconnected())").strip() == "False False"
        board.network(False, link=True)
        assert run("print(w.isconnected())").strip() == "True"
        board.network(True)
        assert run(f"print(len(socket.getaddrinfo('localhost', {echo.port})))").strip() == "1"
        assert "-202" in run("try: socket.getaddrinfo('no.such.name.invalid', 1)\nexcept OSError as e: print(e)")


def test_a_round_trip_takes_the_delay_and_does_not_limit_the_flow(board: VirtualBoard, echo: Echo) -> None:
    board.delay_ms(100)
    with port(board) as run:
        took = run(
            "import socket, time\n"
            f"s = socket.socket(); s.connect(socket.getaddrinfo('127.0.0.1', {echo.port})[0][-1])\nt = time.ticks_ms()\n"
            "for i in range(50): s.send(b'0123456789')\nn = 0\nwhile n < 500: n += len(s.recv(500 - n))\n"
            "print(time.ticks_diff(time.ticks_ms(), t)); s.close()"
        )
    assert 100 <= int(took) < 2500


def test_datagrams_pass_and_are_lost_while_down(board: VirtualBoard, echo: Echo) -> None:
    with port(board) as run:
        run(
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.3)\n"
            f"there = socket.getaddrinfo('127.0.0.1', {echo.udp_port}, 0, socket.SOCK_DGRAM)[0][-1]"
        )
        assert run("s.sendto(b'ping', there); print(s.recv(9))").strip() == "b'ping'"
        board.network(False, link=True)
        assert "EAGAIN" in run("s.sendto(b'lost', there)\ntry: s.recv(9)\nexcept OSError as e: print(e)")
        board.network(True)
        assert run("s.sendto(b'pong', there); print(s.recv(9))").strip() == "b'pong'"


def test_a_peer_that_refuses_or_ends_is_felt(board: VirtualBoard, echo: Echo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    with port(board) as run:
        run(f"import socket\ns = socket.socket(); s.connect(socket.getaddrinfo('127.0.0.1', {nobody})[0][-1])")
        assert run("try: print(s.recv(1))\nexcept OSError as e: print(e)").strip() in ("b''", "[Errno 104] ECONNRESET")
        run(
            f"s = socket.socket(); s.connect(socket.getaddrinfo('127.0.0.1', {echo.port})[0][-1]); s.send(b'x'); s.recv(1)"
        )
        ended = len(echo.ended)
        run("s.close()")
    board.wait_for(lambda b: len(echo.ended) > ended)
    assert echo.ended[-1][1] == "end"


def test_a_power_cut_resets_the_far_side_without_an_end(board: VirtualBoard, echo: Echo) -> None:
    leave_running(board, ECHO.format(port=echo.port))
    board.wait_for(lambda b: echoes(b))
    ended = len(echo.ended)
    board.power_cut()
    board.wait_for(lambda b: len(echo.ended) > ended)
    assert echo.ended[-1][1] == "reset"


def test_a_dead_peer_can_stay_silent_for_a_while(tmp_path_factory: pytest.TempPathFactory, echo: Echo) -> None:
    with VirtualBoard(tmp_path_factory.mktemp("board"), halfopen_s=1.0) as board:
        board.wait_for(lambda b: b.booted)
        leave_running(board, ECHO.format(port=echo.port))
        board.wait_for(lambda b: echoes(b))
        ended = len(echo.ended)
        cut = time.monotonic()
        board.power_cut()
        board.wait_for(lambda b: len(echo.ended) > ended)
    assert echo.ended[-1][0] - cut >= 0.9
    assert echo.ended[-1][1] == "reset"


def test_the_router_answers_for_names(board: VirtualBoard, echo: Echo) -> None:
    with port(board) as run:
        run(
            "import network, socket\nw = network.WLAN(); w.active(True); w.connect('home')\n"
            "def ask(name, kind=1):\n"
            "  s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)\n"
            "  s.connect(socket.getaddrinfo(w.ifconfig()[3], 53)[0][-1])\n"
            "  s.send(b'\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0' + b''.join(bytes([len(l)]) + l for l in name.split(b'.'))"
            " + bytes([0, 0, kind, 0, 1]))\n"
            "  r = s.recv(512); s.close(); return r"
        )
        reply = eval(run("print(ask(b'broker.test'))"))
        assert reply[:12] == b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0"
        assert reply[-6:] == b"\0\4\x7f\0\0\1"
        assert eval(run("print(ask(b'no.such.name.invalid'))"))[3] & 15 == 3
        assert eval(run("print(ask(b'broker.test', 28))"))[6:8] == b"\0\0"
        assert "EAGAIN" in run("try: ask(b'x' * 70)\nexcept OSError as e: print(e)")
        run(f"s = socket.socket(); s.connect(socket.getaddrinfo('broker.test', {echo.port})[0][-1]); s.send(b'x')")
        assert run("print(s.recv(1)); s.close()").strip() == "b'x'"
