"""What the tests of the whole chain share: waiting for a restarted gateway, and looking into the reception's database."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from tryggport.reception import open_database, views
from tryggport.reception.tenants import centre
from tryggport.sim.chain import Chain
from tryggport.sim.timeline import now_ms


def stored(chain: Chain, kind: str, state: str = "raised") -> list[dict[str, Any]]:
    """The database's events of a kind and state, newest first."""
    with contextlib.closing(open_database(chain.database_url)) as database:
        rows = views.list_events(centre(database), limit=10_000)
    return [row for row in rows if (row["kind"], row["state"]) == (kind, state)]


def wait_stored(
    chain: Chain, kind: str, count: int, state: str = "raised", timeout_s: float = 20
) -> list[dict[str, Any]]:
    """`stored`, as soon as there are `count`; what there is when the time is over."""
    deadline = time.monotonic() + timeout_s
    while len(rows := stored(chain, kind, state)) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return rows


def recover(chain: Chain, timeout_s: float = 30) -> None:
    """Switches the gateway on and waits until all that its journal held and its first two events are settled."""
    since = now_ms()
    chain.board.power_on()
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        moments = [m for m in chain.timeline.since(since) if m.source == "gateway"]
        seqs = [m.detail["seq"] for m in moments if m.name == "append.end"]
        if len(seqs) >= 2 and any(m.name == "settle.end" and m.detail["seq"] >= seqs[1] for m in moments):
            return
        time.sleep(0.02)
    raise AssertionError(f"the gateway has not recovered in {timeout_s} s; its console:\n{chain.board.console()}")


def wait_quiet(chain: Chain, quiet_ms: float = 500, timeout_s: float = 20) -> None:
    """Until the gateway has been at no step for a while: what was sent before the last power cut has been answered."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not any(moment.source == "gateway" for moment in chain.timeline.since(now_ms() - quiet_ms)):
            return
        time.sleep(0.05)
    raise AssertionError(f"the gateway was never quiet for {quiet_ms:g} ms")
