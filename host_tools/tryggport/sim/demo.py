"""`make demo`: a fall on its way from the accelerometer to *help is informed*, with milliseconds, and keys to spoil it with."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from tryggport.errors import TryggError
from tryggport.reception import cases, open_database, views
from tryggport.reception.tenants import centre
from tryggport.sim import movement
from tryggport.sim.chain import Chain
from tryggport.sim.timeline import Moment, now_ms
from tryggport.wire import kinds

OPERATOR = "Kari at the demo centre"
ONCE_S = 60.0
POWER_OFF_S = 1.0
STEPS = {
    ("gateway", "edge"): "a sensor or button asks for help",
    ("gateway", "append.end"): "journalled: survives a power cut from here on",
    ("gateway", "sign.end"): "signed (COSE, ES256)",
    ("gateway", "publish.end"): "published over MQTT 5 and TLS",
    ("reception", "verified"): "signature verified against the gateway's certificate",
    ("reception", "commit.end"): "committed to the database",
    ("reception", "receipt.end"): "signed receipt on its way back",
    ("gateway", "puback"): "broker acknowledged (transport only)",
    ("gateway", "receipt"): "receipt verified",
    ("gateway", "settle.end"): "settled: may be forgotten",
}
KEYS = "F fall  H help  C cancel  T take the case  N network  P power  M mains  Q quit"
LAMPS = {0: ("○", "dim"), 1: ("●", "red"), 2: ("●", "green"), 3: ("●", "yellow")}


class Show:
    """Prints what one act sets off, in ms since its trigger; of events, only the first that the act made."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.begin()

    def begin(self) -> None:
        """The next trigger is zero."""
        self._zero_ms: float | None = None
        self._seq: int | None = None
        self._committing = False

    def moment(self, moment: Moment) -> None:
        text = self._text(moment)
        if text is None:
            return
        since = f"{moment.t_ms - self._zero_ms:+9.0f} ms" if self._zero_ms is not None else " " * 12
        self.console.print(f"{since}  {moment.source:<9}  {text}")

    def _text(self, moment: Moment) -> str | None:
        if moment.source == "home":
            signal = kinds.SIGNALS[moment.name]
            mark, colour = LAMPS[signal.light]
            return f"[{colour}]{mark}[/] [bold]{signal.en}[/] · {signal.nb}"
        if moment.source == "board":
            return _board_text(moment)
        if moment.source == "hand":
            return f"[bold]{moment.name}[/]"
        if moment.source == "gateway":
            return self._gateway_text(moment)
        return STEPS.get((moment.source, moment.name)) if self._is_about_it(moment) else None

    def _gateway_text(self, moment: Moment) -> str | None:
        if moment.name == "edge" and self._zero_ms is None:
            self._zero_ms = moment.t_ms
        elif self._zero_ms is None:
            return None
        elif moment.name == "append.begin" and self._seq is None:
            self._seq = moment.detail["seq"]
        elif moment.detail["seq"] != self._seq:
            return None
        return STEPS.get(("gateway", moment.name))

    def _is_about_it(self, moment: Moment) -> bool:
        """Whether a step of the reception is about the act's event."""
        if moment.name == "verified":
            self._committing = any(getattr(item, "seq", None) == self._seq for item in moment.detail["items"])
        elif moment.name == "receipt.end":
            return any(first <= (self._seq or 0) <= last for first, last, _ in moment.detail["receipt"].ranges)
        return self._committing and self._seq is not None


def _board_text(moment: Moment) -> str | None:
    if moment.name == "cut":
        return f"[red]power cut[/] at {moment.detail['at']}"
    if moment.name == "network":
        return "network is back" if moment.detail["up"] else "[red]network is gone[/]: nothing passes, nothing ends"
    if moment.name == "reset":
        return f"MicroPython starts ({moment.detail['cause']})"
    return None


def run(*, once: bool, broker: str = "auto", folder: Path | None = None) -> None:
    """The demo; `folder` keeps its files. Raises TryggError when the chain breaks."""
    console = Console(highlight=False, soft_wrap=True)
    if not once and not sys.stdin.isatty():
        raise TryggError("The demo needs a terminal for its keys.", "Without one: make demo ONCE=1", usage=True)
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tryggport-")))
        folder.mkdir(parents=True, exist_ok=True)
        console.print(
            "[bold]Tryggport demo[/]: a gateway, a broker and an alarm reception on this machine, all on loopback."
        )
        start = time.monotonic()

        def tell(text: str) -> None:
            console.print(f"{time.monotonic() - start:10.2f} s  {text}")

        chain = stack.enter_context(Chain(folder, broker=broker, tell=tell))
        if chain.broker_kind == "iotcore":
            console.print(
                "              (this broker has no access control, lets clients in without a certificate and forgets all when it\n"
                "               stops: it is for the demo; install mosquitto for the real thing)"
            )
        show = Show(console)
        chain.timeline.listen(show.moment)
        if once:
            _once(chain, console)
        else:
            _play(chain, show, console)


def _once(chain: Chain, console: Console) -> None:
    """One fall, one power cut before the receipt, one line with the result."""
    began = now_ms()
    console.print(
        "\nA fall (made up: no recording of a person is shipped). The power goes once the broker has acknowledged it."
    )
    chain.board.plan_cut("step:puback")
    chain.board.feed(movement.fall(), movement.RATE_HZ)
    _expect(chain, "gateway", "edge", began)
    cut = _expect(chain, "board", "cut", began)
    time.sleep(POWER_OFF_S)
    console.print(f"{'':12}  hand       power is back after {POWER_OFF_S:g} s")
    chain.board.power_on()
    alarm = _expect(chain, "gateway", "append.end", began).detail["seq"]
    settled = _expect(chain, "gateway", "settle.end", cut.t_ms, began)
    latency_ms = settled.t_ms - _expect(chain, "gateway", "edge", began).t_ms
    _take(chain, console)
    if not chain.wait_light("taken"):
        raise TryggError("The home does not show that help is informed.", f"It shows: {chain.light()}.")
    console.print(f"The time counts from the trigger, the power cut of {POWER_OFF_S:g} s and the restart included.")
    verified, stored, receipted = _count(chain, alarm, began)
    if (verified, stored, receipted) != (1, 1, 1):
        raise TryggError(f"verified={verified} stored={stored} receipted={receipted}, each should be 1.")
    print(f"demo: ok kind=fall verified=1 stored=1 receipted=1 latency_ms={latency_ms:.0f}", flush=True)


def _count(chain: Chain, seq: int, began: float) -> tuple[int, int, int]:
    """Falls that the reception verified and stored since `began`, by identity, and whether the gateway settled `seq`."""
    moments = chain.timeline.since(began)
    verified = {
        (item.epoch, item.seq)
        for moment in moments
        if (moment.source, moment.name) == ("reception", "verified")
        for item in moment.detail["items"]
        if getattr(item, "kind", None) == kinds.FALL and item.state == kinds.STATE_RAISED
    }
    with contextlib.closing(open_database(chain.database_url)) as database:
        rows = [row for row in views.list_events(centre(database)) if (row["kind"], row["state"]) == ("fall", "raised")]
    settled = {m.detail["seq"] for m in moments if (m.source, m.name) == ("gateway", "settle.end")}
    return len(verified), len(rows), int(seq in settled)


def _expect(chain: Chain, source: str, name: str, since: float, began: float | None = None) -> Moment:
    left_s = ONCE_S - (now_ms() - (began or since)) / 1000
    moment = chain.timeline.wait(source, name, since=since, timeout_s=max(1.0, left_s))
    if moment is None:
        raise TryggError(
            f"{source} did not reach {name} in {ONCE_S:g} s.", f"The gateway's console:\n{chain.board.console()}"
        )
    return moment


def _take(chain: Chain, console: Console) -> None:
    with contextlib.closing(open_database(chain.database_url)) as database:
        case = next((case["id"] for case in views.list_cases(centre(database), closed=False)), 0)
        try:
            cases.take(centre(database), case, OPERATOR)
        except TryggError:
            console.print(f"{'':12}  hand       no case waits")
            return
    chain.timeline.add("hand", f"{OPERATOR} takes case {case}")


def _play(chain: Chain, show: Show, console: Console) -> None:
    console.print(f"\n{KEYS}\n")
    network, mains = True, True
    for key in _keys():
        show.begin()
        if key == "f":
            console.print(f"{'':12}  hand       falls (three seconds of standing first)")
            chain.board.feed(movement.fall(), movement.RATE_HZ)
        elif key in "hc":
            name = {"h": "help", "c": "cancel"}[key]
            console.print(f"{'':12}  hand       presses {name}")
            chain.board.press(name)
        elif key == "t":
            _take(chain, console)
        elif key == "n":
            network = not network
            chain.board.network(network)
        elif key == "m":
            mains = not mains
            chain.board.mains(mains)
            console.print(f"{'':12}  hand       mains {'on' if mains else 'off'} (the gateway runs on its battery)")
        elif key == "p":
            if chain.board.powered:
                chain.board.power_cut()
            else:
                chain.board.power_on()
        elif key == "q":
            return
        else:
            console.print(KEYS)


def _keys() -> Iterator[str]:
    """Keys as they are pressed, lower case; the terminal is as before when the iterator is closed."""
    fd = sys.stdin.fileno()
    saved = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        while True:
            if select.select([fd], [], [], 0.2)[0]:
                data = os.read(fd, 1)
                if not data:
                    return
                yield data.decode(errors="replace").lower()
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)
