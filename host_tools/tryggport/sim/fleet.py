"""A region of simulated homes that comes back after an outage, all on this machine's loopback: nothing may be lost or doubled.

Each home has keys and certificates of its own, speaks mutual TLS to a real Mosquitto, signs what it sends and verifies what comes
back. All were away for `outage_s` and kept trying as gateways do, so that they return within a minute and not at once (TP-BND-009).
Meanwhile people press their buttons, in homes that are back and in homes that are not.
"""

from __future__ import annotations

import asyncio
import random
import resource
import statistics
import tempfile
from asyncio import sslproto
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from tryggport import pki
from tryggport.errors import TryggError
from tryggport.reception import installations, open_database, placing, tenants
from tryggport.reception.ledger import now_ms
from tryggport.reception.schema import conflicts, events
from tryggport.sim.broker import free_port, mosquitto
from tryggport.sim.gateway import Gateway
from tryggport.sim.home_link import Home, returns_s
from tryggport.sim.processes import reception
from tryggport.wire import kinds
from tryggport.wire.event import Event

HOST = "localhost"
TOWN, WHO = "Region", "sim fleet"
FILES_BESIDE = 200  # open files beside the connections
TLS_BUFFER = 16_384  # asyncio takes 256 KiB a connection otherwise
TICK_S = 1.0
Tell = Callable[[str, int, int], None]  # what, how many of, how many


@dataclass(frozen=True, slots=True)
class Plan:
    """`events` buffered by each of `gateways` while the broker was away for `outage_s`; `rate` fresh alarms a second meanwhile."""

    gateways: int = 100
    events: int = 20
    rate: float = 5.0
    outage_s: float = 600.0
    timeout_s: float = 300.0
    seed: int = 1

    def check(self) -> None:
        """Raises TryggError for what cannot be."""
        if not 1 <= self.gateways <= 20_000 or not 1 <= self.events <= 1000:
            raise TryggError("A fleet has 1 to 20,000 gateways with 1 to 1,000 events each.", usage=True)
        if self.rate < 0 or self.outage_s < 0 or self.timeout_s <= 0:
            raise TryggError("Rate and outage are not below 0, and the time to wait is above it.", usage=True)


@dataclass(frozen=True, slots=True)
class Report:
    """`lost`: neither stored nor receipted in time, or not with the bytes that were sent; `seconds`: from the broker's return on."""

    gateways: int
    events: int
    stored: int
    receipted: int
    lost: int
    doubled: int
    fresh_alarms: int
    fresh_alarm_p50_ms: float | None
    fresh_alarm_p99_ms: float | None
    handshakes: int
    sent_again: int
    bad_receipts: int
    seconds: float


def run(
    plan: Plan, folder: Path | None = None, tell: Tell = lambda *_: None, database_url: str | None = None
) -> Report:
    """Plays the plan; keys, broker and database are in `folder`, or in one that goes away. Raises TryggError."""
    plan.check()
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise TryggError(
            f"The folder {folder} is not empty.", "Name a new one: each run has keys of its own.", usage=True
        )
    _allow_files(plan.gateways + FILES_BESIDE)
    with tempfile.TemporaryDirectory(prefix="tryggport-fleet-") as temporary:
        home = folder or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        url = database_url or f"sqlite:///{home / 'reception.db'}"
        pki.init(home / "pki")
        chance = random.Random(plan.seed)
        homes, sent = _build(plan, home / "pki", chance, tell)
        _place(homes, url, home / "homes.csv")
        port = free_port()
        with mosquitto(home / "broker", home / "pki", port), reception(home / "pki", url, port):
            seconds, alarms = asyncio.run(_play(plan, homes, port, chance, tell))
        sent += alarms
        return _report(homes, sent, url, seconds, len(alarms))


def _build(plan: Plan, pki_dir: Path, chance: random.Random, tell: Tell) -> tuple[list[Home], list[Event]]:
    homes, sent = [], []
    for n in range(plan.gateways):
        gateway = Gateway(pki_dir, f"home-{n:05}")
        backlog = [(event, False) for event in _backlog(gateway, plan.events)]
        sent += [event for event, _ in backlog]
        homes.append(Home(gateway, gateway.tls(), backlog, random.Random(chance.random())))
        tell("keys and certificates", n + 1, plan.gateways)
    return homes, sent


def _place(homes: Sequence[Home], url: str, file: Path) -> None:
    """The homes of one municipality, as it would import them."""
    lines = ["home,gateway", *(f"H{n:05},{home.gateway.id}" for n, home in enumerate(homes))]
    file.write_text("\n".join(lines) + "\n")
    with closing(open_database(url)) as database:
        scope = tenants.centre(database)
        installations.add_municipality(scope, TOWN, WHO)
        placing.import_csv(scope, TOWN, file, WHO, now_ms())


def _backlog(gateway: Gateway, count: int) -> list[Event]:
    """A boot, and mains power that came and went."""
    found = [gateway.event(kinds.BOOT, severity=0)]
    while len(found) < count:
        if len(found) % 2:
            found.append(gateway.event(kinds.MAINS, severity=2, sensor="mains"))
        else:
            found.append(gateway.event(kinds.MAINS, severity=2, sensor="mains", state=2, ref=found[-1].seq))
    return found


async def _play(
    plan: Plan, homes: Sequence[Home], port: int, chance: random.Random, tell: Tell
) -> tuple[float, list[Event]]:
    """(seconds until all was settled, the fresh alarms); gives up after the plan's time-out."""
    sslproto.SSLProtocol.max_size = TLS_BUFFER
    loop = asyncio.get_running_loop()
    began = loop.time()
    lives = [loop.create_task(home.live(HOST, port, returns_s(plan.outage_s, chance))) for home in homes]
    alarms: list[Event] = []
    total = plan.gateways * plan.events
    next_tick = began
    while loop.time() < began + plan.timeout_s:
        now = loop.time()
        settled = total + len(alarms) - (waiting := sum(len(home.waiting) for home in homes))
        all_back = all(home.handshakes for home in homes)
        if all_back and not waiting:
            break
        if now >= next_tick:
            for home in homes:
                home.tick(now)
            tell("events receipted", settled, total + len(alarms))
            next_tick += TICK_S
        if not all_back:
            while len(alarms) < plan.rate * (now - began):
                home = chance.choice(homes)
                alarms.append(home.gateway.event(kinds.HELP))
                home.trigger(alarms[-1])
        await asyncio.sleep(0.02)
    seconds = loop.time() - began
    for life in lives:
        life.cancel()
    await asyncio.gather(*lives, return_exceptions=True)
    for home in homes:
        home.leave()
    await asyncio.sleep(0)
    return seconds, alarms


def _report(homes: Sequence[Home], sent: Sequence[Event], url: str, seconds: float, alarms: int) -> Report:
    with closing(open_database(url)) as database, database.read() as tx:
        rows = tx.execute(select(events.c.gateway, events.c.epoch, events.c.seq, events.c.sha256)).all()
        beside = tx.execute(select(conflicts.c.gateway, conflicts.c.epoch, conflicts.c.seq)).all()
    expected = {(event.gateway, event.epoch, event.seq): event.sha256 for event in sent}
    copies = Counter((gateway, epoch, seq) for gateway, epoch, seq, _ in rows)
    right = {(gateway, epoch, seq) for gateway, epoch, seq, sha in rows if expected.get((gateway, epoch, seq)) == sha}
    unsettled = {(home.gateway.id, home.gateway.epoch, seq) for home in homes for seq in home.waiting}
    latencies = sorted(latency for home in homes for latency in home.latencies_s)
    outcomes: Counter[int] = sum((home.outcomes for home in homes), Counter())
    return Report(
        gateways=len(homes),
        events=len(sent),
        stored=len(right),
        receipted=len(sent) - len(unsettled),
        lost=len((expected.keys() - right) | unsettled),
        doubled=sum(copies[identity] - 1 for identity in right) + len(beside),
        fresh_alarms=alarms,
        fresh_alarm_p50_ms=_percentile(latencies, 50),
        fresh_alarm_p99_ms=_percentile(latencies, 99),
        handshakes=sum(home.handshakes for home in homes),
        sent_again=outcomes[kinds.OUTCOME_DUPLICATE],
        bad_receipts=sum(home.bad_receipts for home in homes),
        seconds=round(seconds, 1),
    )


def _percentile(latencies_s: Sequence[float], percent: int) -> float | None:
    if not latencies_s:
        return None
    cuts = (
        statistics.quantiles(latencies_s, n=100, method="inclusive") if len(latencies_s) > 1 else [latencies_s[0]] * 99
    )
    return round(1000 * cuts[percent - 1], 1)


def _allow_files(count: int) -> None:
    """For us, and the broker that we start, each. Raises TryggError when the machine does not let us have so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(hard, count)))
    except (ValueError, OSError):
        raise TryggError(
            f"This machine allows {hard} open files, and so many gateways need {count}.", f"Type: ulimit -Hn {count}"
        ) from None
