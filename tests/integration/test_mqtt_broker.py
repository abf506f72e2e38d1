"""The MQTT client in the real MicroPython against a real Mosquitto over mutual TLS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mqtt_site import Mosquitto, Program, certificates


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mqtt")
    certificates(made)
    return made


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[Mosquitto]:
    with Mosquitto(folder) as running:
        yield running


OPENING_EXAMPLE = """
async def main():
    got = []
    client = Client("me", tls(), session_expiry_s=3600,
                    on_message=lambda topic, payload, properties: got.append([topic, bytes(payload).decode()]))
    subscription = client.subscribe("me/#")
    asyncio.create_task(client.run())
    await subscription.wait()
    message = await client.publish("me/event", b"hello").wait()
    await until(lambda: got)
    tell(got=got, state=message.state, reason=message.reason, granted=subscription.reason)
    await client.close()
    tell(connected=client.connected, error=str(client.last_error))

asyncio.run(main())
"""


def test_TP_MQT_011_opening_example_over_mutual_tls(folder: Path, broker: Mosquitto) -> None:
    with Program(folder, broker.tls_port, OPENING_EXAMPLE) as program:
        assert program.told() == {"got": [["me/event", "hello"]], "state": 2, "reason": 0, "granted": 1}
        assert program.told() == {"connected": False, "error": "None"}


REFUSED = """
async def main():
    ended = []
    client = Client("me", tls({name!r}, {host!r}), on_disconnect=ended.append, backoff_ms=(20, 20))
    client.publish("t", b"kept")
    asyncio.create_task(client.run())
    await until(lambda: len(ended) > 9)
    tell(kind=type(client.last_error).__name__, text=str(client.last_error), queued=client.queued, files=open_files())

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("certificate", "name", "host", "kind", "text"),
    [
        ("broker", "me", "other.test", "ValueError", "Name"),
        ("expired", "me", "broker.test", "ValueError", "expired"),
        ("broker", None, "broker.test", "", ""),
        ("broker", "stranger", "broker.test", "", ""),
    ],
)
def test_TP_MQT_052_refused_handshake_is_told_and_tried_again(
    folder: Path, certificate: str, name: str | None, host: str, kind: str, text: str
) -> None:
    with (
        Mosquitto(folder, certificate) as broker,
        Program(folder, broker.tls_port, REFUSED.format(name=name, host=host)) as program,
    ):
        told = program.told()
    assert told["kind"] == kind or not kind
    assert text in told["text"]
    assert told["queued"] == 1
    assert told["files"] < 10


OUTAGE = """
async def main():
    got = []
    connects = []
    client = Client("me", tls(), session_expiry_s=3600, on_connect=connects.append, backoff_ms=(50, 200), queue_limit=20,
                    on_message=lambda topic, payload, properties: got.append(bytes(payload).decode()))
    client.subscribe("me/#")
    asyncio.create_task(client.run())
    for n in range(3):
        await client.publish("me/t", "before%d" % n).wait()
    await until(lambda: len(got) == 3)
    tell(connects=connects)
    await until(lambda: not client.connected)
    messages = [client.publish("me/t", "during%d" % n) for n in range(10)]
    tell(queued=client.queued)
    for message in messages:
        await message.wait()
    await until(lambda: len(got) == 13)
    tell(got=got, connects=connects, states=[message.state for message in messages])

asyncio.run(main())
"""


def test_TP_MQT_060_broker_restart_loses_nothing_and_renews_subscriptions(folder: Path) -> None:
    broker = Mosquitto(folder)
    with broker, Program(folder, broker.tls_port, OUTAGE) as program:
        assert program.told() == {"connects": [False]}
        broker.stop()
        assert program.told() == {"queued": 10}
        time.sleep(0.5)
        broker.start()
        told = program.told()
    assert told["got"] == [f"before{n}" for n in range(3)] + [f"during{n}" for n in range(10)]
    assert told["connects"] == [False, False]
    assert told["states"] == [2] * 10


RESUMED = """
async def main():
    connects = []
    got = []
    def client():
        return Client("resuming", tls(), session_expiry_s=3600, on_connect=connects.append,
                      on_message=lambda topic, payload, properties: got.append(bytes(payload).decode()))
    first = client()
    first.subscribe("resuming/#")
    task = asyncio.create_task(first.run())
    await first.publish("x").wait()
    await first.close()
    other = Client("other", tls())
    asyncio.create_task(other.run())
    await other.publish("resuming/command", "while away").wait()
    second = client()
    asyncio.create_task(second.run())
    await until(lambda: got)
    tell(connects=connects, got=got)

asyncio.run(main())
"""


def test_TP_MQT_043_session_of_an_earlier_boot_is_resumed(folder: Path, broker: Mosquitto) -> None:
    with Program(folder, broker.tls_port, RESUMED) as program:
        assert program.told() == {"connects": [False, True], "got": ["while away"]}


BOOT_WITHOUT_BROKER = """
async def main():
    ended = []
    client = Client("early", tls(), on_disconnect=ended.append, backoff_ms=(20, 100), queue_limit=4)
    asyncio.create_task(client.run())
    message = client.publish("t")
    await until(lambda: len(ended) > 5)
    tell(down=True)
    await message.wait()
    tell(state=message.state, queued=client.queued)

asyncio.run(main())
"""


def test_TP_MQT_060_boot_while_the_broker_is_down(folder: Path) -> None:
    broker = Mosquitto(folder)
    with Program(folder, broker.tls_port, BOOT_WITHOUT_BROKER) as program:
        assert program.told() == {"down": True}
        with broker:
            assert program.told() == {"state": 2, "queued": 0}


WILL = """
async def main():
    got = []
    counter = 0
    def will():
        nonlocal counter
        counter += 1
        return "will/me", b"gone %d" % counter, 1, True, {0x18: 0}
    watcher = Client("watcher", tls(), on_message=lambda topic, payload, properties: got.append(
        [topic, bytes(payload).decode(), properties.get("retain", False)]))
    subscription = watcher.subscribe("will/#")
    asyncio.create_task(watcher.run())
    await subscription.wait()
    client = Client("mortal", tls(), will=will, backoff_ms=(10, 10))
    asyncio.create_task(client.run())
    await client.publish("x").wait()
    await client.close(4)
    await until(lambda: got)
    asyncio.create_task(client.run())
    await until(lambda: client.connected)
    await client.close()
    late = Client("late", tls(), on_message=watcher.on_message)
    late.subscribe("will/#")
    asyncio.create_task(late.run())
    await until(lambda: len(got) == 2)
    tell(got=got)

asyncio.run(main())
"""


def test_TP_MQT_012_will_is_made_for_each_connection(folder: Path, broker: Mosquitto) -> None:
    with Program(folder, broker.tls_port, WILL) as program:
        assert program.told() == {"got": [["will/me", "gone 1", False], ["will/me", "gone 1", True]]}


RECONNECTS = """
async def main():
    heap = []
    files = []
    client = Client("again", tls(), backoff_ms=(1, 1))
    for n in range({count}):
        task = asyncio.create_task(client.run())
        await client.publish("t", b"x" * 200).wait()
        await client.close()
        if n in (49, {count} - 1):
            gc.collect()
            heap.append(gc.mem_alloc())
            files.append(open_files())
    tell(heap=heap, files=files)

asyncio.run(main())
"""


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.long)])
def test_TP_MQT_061_heap_is_back_after_reconnects_over_tls(folder: Path, broker: Mosquitto, count: int) -> None:
    with Program(folder, broker.tls_port, RECONNECTS.format(count=count)) as program:
        told = program.told()
    assert told["heap"][1] - told["heap"][0] < 1024
    assert told["files"][1] == told["files"][0]
