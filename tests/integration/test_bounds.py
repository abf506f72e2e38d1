"""The times and sizes of protocols/bounds.md, on the whole chain."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator

import paho.mqtt.client as paho
import pytest
from chains import stored, wait_stored
from tryggport.sim import movement
from tryggport.sim.chain import Chain
from tryggport.sim.timeline import now_ms

HEARTBEAT_S = 2
GRACE_MS = 20_000


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    placement = {"heartbeat_s": HEARTBEAT_S, "grace_ms": GRACE_MS}
    with Chain(tmp_path_factory.mktemp("chain"), broker="mosquitto", placement=placement) as chain:
        yield chain


def log_of_broker(chain: Chain) -> str:
    return (chain.folder / "broker" / "mosquitto.log").read_text()


def test_TP_BND_004_keep_alive_is_30_seconds(chain: Chain) -> None:
    lines = [line for line in log_of_broker(chain).splitlines() if f"as {chain.gateway} (" in line]
    assert lines and all(", k30," in line for line in lines)


def test_TP_BND_008_the_heartbeat_comes_as_often_as_configured(chain: Chain) -> None:
    since = now_ms()
    time.sleep(3 * HEARTBEAT_S + 1)
    beats = [m for m in chain.timeline.since(since) if (m.source, m.name) == ("reception", "online")]
    assert 2 <= len(beats) <= 4


def test_TP_BND_016_a_fall_carries_its_grace(chain: Chain) -> None:
    chain.board.feed(movement.fall(), movement.RATE_HZ)
    (fall,) = wait_stored(chain, "fall", 1)
    assert fall["data"]["grace_ms"] == GRACE_MS
    assert len(fall["data"]["evidence"]) > 5


def test_TP_BND_014_a_message_over_the_limit_does_not_reach_the_gateway_and_harms_nothing(chain: Chain) -> None:
    context = ssl.create_default_context(cafile=chain.pki_folder / "root.pem")
    context.load_cert_chain(chain.pki_folder / "reception.pem", chain.pki_folder / "reception.key")
    chain.stop_reception()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "reception", protocol=paho.MQTTv5)
    client.tls_set_context(context)
    client.connect("localhost", chain.broker.port)
    client.loop_start()
    since = now_ms()
    client.publish(f"trygg/1/{chain.gateway}/receipt", bytes(1536), qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    chain.start_reception()
    before = len(stored(chain, "help"))
    chain.board.press("help")
    assert len(wait_stored(chain, "help", before + 1)) == before + 1
    connects = [m for m in chain.timeline.since(since) if (m.source, m.name) == ("gateway", "connected")]
    assert connects == [], "it stayed connected"


def test_TP_BND_006_without_a_receipt_the_alarm_is_published_again_after_ten_seconds(chain: Chain) -> None:
    chain.stop_reception()
    since = now_ms()
    chain.board.press("help")
    first = chain.timeline.wait("gateway", "publish.end", since=since)
    assert first is not None
    again = chain.timeline.wait("gateway", "publish.end", since=first.t_ms + 1, seq=first.detail["seq"], timeout_s=20)
    assert again is not None and 9_000 < again.t_ms - first.t_ms < 14_000
    chain.start_reception()
    assert chain.timeline.wait("gateway", "settle.end", since=again.t_ms) is not None


def test_TP_BND_005_TP_BND_010_a_silent_network_is_noticed_and_a_press_ends_the_wait(chain: Chain) -> None:
    before = len(stored(chain, "help"))
    chain.board.network(False, link=True)
    since = now_ms()
    chain.board.press("help")
    chain.board.wait_for(lambda board: "mqtt: no answer in time" in board.console(), timeout_s=15)
    assert now_ms() - since > 5_000
    time.sleep(3)  # some attempts fail
    chain.board.network(True)
    back = now_ms()
    chain.board.press("help")
    assert len(wait_stored(chain, "help", before + 2, timeout_s=40)) == before + 2
    connected = chain.timeline.wait("gateway", "connected", since=back)
    assert (
        connected is not None and connected.t_ms - back < 26_000
    )  # 10 s between kicks, and one handshake of 15 s in vain


def test_TP_BND_007_nobody_has_answered_after_a_minute(chain: Chain) -> None:
    chain.board.press("help")
    assert chain.wait_light("sent")
    assert chain.wait_light("nobody_answered", timeout_s=70)
    tones = [value for _, pin, value in chain.board.outputs().history if pin == "buzzer"]
    assert tones.count((440, 32768)) >= 3
