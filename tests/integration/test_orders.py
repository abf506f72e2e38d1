"""Commands, settings on trial, keys that change or are lost: the whole chain, the trial's 10 minutes scaled to 5 s."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from chains import recover, stored, wait_quiet, wait_stored
from tryggport.devices.configuration import CONFIG_AAD
from tryggport.devices.link import Link
from tryggport.errors import TryggError
from tryggport.pki import authority, files
from tryggport.pki.overview import trust_entries
from tryggport.reception import open_database, orders, views
from tryggport.reception.database import Database
from tryggport.reception.ledger import now_ms as utc_now_ms
from tryggport.reception.tenants import centre
from tryggport.registry import changes, commands
from tryggport.sim.chain import Chain
from tryggport.sim.timeline import now_ms
from tryggport.wire import cbor, kinds, order, topics
from tryggport.wire.envelope import Envelope, SigningKey
from tryggport.wire.event import decode_events
from tryggport.wire.order import Command
from tryggport.wire.receipt import Receipt, ranges_of

TRIAL_MS = 5_000
ANSWER_S = 20.0
MAIN = f"""
import gc
gc.threshold(4096)
from gateway import app
app.TRIAL_MS = {TRIAL_MS}
app.main()
"""
DONE, WRONG_GATEWAY, WRONG_EPOCH, EXPIRED, REPLAYED, TOO_OLD, RETURNED, REFUSED = 0, 3, 4, 5, 6, 7, 11, 12


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with Chain(tmp_path_factory.mktemp("chain"), broker="mosquitto") as chain:
        with Link(chain.board.tty) as link:
            link.write("/main.py", MAIN.encode())
        since = now_ms()
        chain.board.reset()
        assert chain.timeline.wait("gateway", "settle.end", since=since) is not None
        yield chain


@pytest.fixture(scope="module")
def db(chain: Chain) -> Iterator[Database]:
    with contextlib.closing(open_database(chain.database_url)) as database:
        yield database


def code_of(db: Database, order_id: int, timeout_s: float = ANSWER_S) -> int | None:
    """The code of an order's result, or None when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while (found := orders.answer(db, order_id)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return found and found[0]


def command_key(chain: Chain) -> SigningKey:
    return SigningKey(files.load_key(chain.pki_folder / "command.key"))


def give(chain: Chain, db: Database, key: SigningKey | None = None, topic: str | None = None, **fields: Any) -> int:
    """Queues a test alarm with `fields` other than they should be; returns the id of the order."""
    epoch, _ = orders.epoch_and_next_seq(db, chain.gateway) or (b"", 0)
    right: dict[str, Any] = {
        "gateway": chain.gateway,
        "epoch": epoch,
        "counter": utc_now_ms(),
        "what": order.TEST_ALARM,
    }
    command = Command(**(right | fields))
    envelope = (key or command_key(chain)).seal(command.to_bytes(), topic or topics.topic(chain.gateway, "command"))
    return orders.queue(db, chain.gateway, order.COMMAND, command.counter, envelope, what=command.what)


def test_TP_CMD_001_TP_CMD_007_a_command_is_carried_out_and_its_result_stored(chain: Chain, db: Database) -> None:
    since = time.monotonic()
    details = commands.wait(db, commands.send(db, chain.pki_folder, chain.gateway, order.TEST_ALARM), ANSWER_S)
    took_s = time.monotonic() - since
    print(f"queued to answered: {took_s * 1000:.0f} ms")
    assert details is not None and took_s < 5
    (alarm,) = wait_stored(chain, "help", 1)
    assert (alarm["test"], alarm["seq"], alarm["sensor"]) == (True, details[1], "command")


def test_TP_CMD_005_a_replayed_command_is_not_carried_out_again(chain: Chain, db: Database) -> None:
    with db.read() as tx:
        row = tx.exec_driver_sql("SELECT number, envelope FROM orders WHERE kind = 0 ORDER BY id DESC").first()
    before = len(stored(chain, "help"))
    again = orders.queue(db, chain.gateway, order.COMMAND, row[0], row[1])
    assert code_of(db, again) == REPLAYED
    assert code_of(db, give(chain, db, counter=row[0] - 64)) == TOO_OLD
    assert code_of(db, give(chain, db, counter=row[0] - 63)) == DONE
    assert len(wait_stored(chain, "help", before + 1)) == before + 1


def test_TP_CMD_004_TP_CMD_006_what_is_not_for_this_gateway_epoch_or_time_is_refused(
    chain: Chain, db: Database
) -> None:
    before = len(stored(chain, "help"))
    assert code_of(db, give(chain, db, gateway="other-0001")) == WRONG_GATEWAY
    assert code_of(db, give(chain, db, epoch=bytes(8))) == WRONG_EPOCH
    assert code_of(db, give(chain, db, not_after_ms=utc_now_ms() - 5000)) == EXPIRED
    assert len(stored(chain, "help")) == before


def test_TP_CMD_002_what_no_command_key_has_signed_for_this_topic_is_ignored(chain: Chain, db: Database) -> None:
    before = len(stored(chain, "help"))
    tries = [
        give(chain, db, key=SigningKey(files.load_key(chain.pki_folder / f"{name}.key")))
        for name in ("receipt", "reception")
    ]
    tries.append(give(chain, db, topic=topics.topic("other-0001", "command")))
    for order_id in tries:
        assert chain.timeline.wait("reception", "order", since=now_ms() - 1000) is not None
        assert code_of(db, order_id, 1.0) is None
        with db.write() as tx:
            tx.exec_driver_sql("DELETE FROM orders WHERE id = ?", (order_id,))
    assert chain.board.console().count("order refused") == len(tries)
    assert code_of(db, give(chain, db)) == DONE, "it still listens"
    assert len(wait_stored(chain, "help", before + 1)) == before + 1


def test_TP_CMD_008_a_changed_configuration_is_kept_once_a_receipt_came_over_it(chain: Chain, db: Database) -> None:
    since = now_ms()
    changed = changes.configure(db, chain.pki_folder, chain.gateway, grace_ms=20_000)
    assert code_of(db, changed) == DONE
    swapped = chain.timeline.wait("gateway", "trial.swapped", since=since)
    kept = chain.timeline.wait("gateway", "keep.end", since=since)
    assert swapped is not None and kept is not None and kept.t_ms > swapped.t_ms
    (row,) = changes.overview(db, chain.pki_folder)
    assert row == {"gateway": chain.gateway, "trust": 1, "configuration": 2}


def test_TP_CMD_008_a_configuration_with_a_broker_that_is_none_returns_in_time(chain: Chain, db: Database) -> None:
    since = now_ms()
    changed = changes.configure(db, chain.pki_folder, chain.gateway, brokers=(("localhost", 1),))
    assert code_of(db, changed, 30) == RETURNED
    swapped = chain.timeline.wait("gateway", "trial.swapped", since=since)
    back = chain.timeline.wait("gateway", "back.end", since=since)
    assert swapped is not None and back is not None
    print(f"on trial for {back.t_ms - swapped.t_ms:.0f} ms")
    assert TRIAL_MS * 0.8 < back.t_ms - swapped.t_ms < TRIAL_MS + 5_000
    (fault,) = wait_stored(chain, "fault", 1)
    assert fault["data"]["fault"] == kinds.FAULT_CHANGE_RETURNED
    changes.configure(db, chain.pki_folder, chain.gateway, brokers=(("localhost", chain.broker.port),))
    assert code_of(db, changed + 1) == DONE


def test_TP_CMD_008_what_cannot_be_read_is_refused_and_an_older_one_is_not_taken(chain: Chain, db: Database) -> None:
    key = SigningKey(files.load_key(chain.pki_folder / "configuration.key"))
    bad = {
        1: chain.gateway,
        2: 90,
        3: [["localhost", chain.broker.port]],
        4: utc_now_ms(),
        5: 0,
        6: "head",
        7: 2,
        8: 300,
    }
    queued = orders.queue(db, chain.gateway, order.CONFIGURATION, 90, key.seal(cbor.encode(bad), CONFIG_AAD))
    assert code_of(db, queued) == REFUSED
    old = key.seal(cbor.encode(bad | {2: 1}), CONFIG_AAD)
    assert code_of(db, orders.queue(db, chain.gateway, order.CONFIGURATION, 1, old)) == 8
    before = len(stored(chain, "help"))
    chain.board.press("help")
    assert len(wait_stored(chain, "help", before + 1)) == before + 1


def test_TP_CMD_008_a_trust_list_without_the_receivers_key_returns_by_itself(chain: Chain, db: Database) -> None:
    root = authority.load_issuer(chain.pki_folder, files.ROOT, None)
    version, entries = trust_entries(files.read(chain.pki_folder / files.TRUST_LIST), root.certificate)
    other = [(authority.new_key().public_key() if roles == 1 else key, roles) for key, roles in entries]
    envelope = authority.trust_list(root.key, version + 1, other)
    assert code_of(db, orders.queue(db, chain.gateway, order.TRUST, version + 1, envelope), 30) == RETURNED


@pytest.mark.parametrize(
    "step",
    [
        "trial.aside",
        "keep.marked",
        pytest.param("trial.marked", marks=pytest.mark.long),
        pytest.param("keep.begin", marks=pytest.mark.long),
    ],
)
def test_TP_CMD_009_a_power_cut_at_a_step_of_a_change_that_is_good(chain: Chain, db: Database, step: str) -> None:
    wait_quiet(chain)
    chain.board.plan_cut(f"step:{step}")
    changed = changes.configure(db, chain.pki_folder, chain.gateway)
    chain.board.wait_for(lambda board: board.cut_happened, timeout_s=20)
    recover(chain)
    assert code_of(db, changed) == DONE


@pytest.mark.long
def test_TP_CMD_009_a_power_cut_in_the_return_of_a_change_that_is_not(chain: Chain, db: Database) -> None:
    wait_quiet(chain)
    chain.board.plan_cut("step:back.removed")
    changed = changes.configure(db, chain.pki_folder, chain.gateway, brokers=(("localhost", 1),))
    chain.board.wait_for(lambda board: board.cut_happened, timeout_s=20)
    recover(chain)
    assert code_of(db, changed) == RETURNED
    changes.configure(db, chain.pki_folder, chain.gateway, brokers=(("localhost", chain.broker.port),))
    assert code_of(db, changed + 1) == DONE


def test_TP_CMD_016_a_receipt_key_changes_with_overlap(chain: Chain, db: Database) -> None:
    old = files.load_key(chain.pki_folder / "receipt.key")
    with pytest.raises(TryggError, match="No rotation of the receipt key is under way"):
        changes.finish(db, chain.pki_folder, "receipt", None)
    listed = changes.rotate(db, chain.pki_folder, "receipt", None)
    with pytest.raises(TryggError, match="1 gateways have not confirmed trust list"):
        changes.finish(db, chain.pki_folder, "receipt", None)
    wait_trust(chain, db, listed.version)
    before = len(stored(chain, "help"))
    chain.board.press("help")
    assert len(wait_stored(chain, "help", before + 1)) == before + 1
    assert chain.wait_light("sent"), "the old key is still in use, and good"
    listed = changes.finish(db, chain.pki_folder, "receipt", None)
    wait_trust(chain, db, listed.version)
    assert files.load_key(chain.pki_folder / "receipt.key").private_numbers() != old.private_numbers()
    forged_receipt_is_refused(chain, SigningKey(old))


@pytest.mark.long
def test_TP_CMD_016_the_configuration_key_changes_and_every_configuration_is_signed_anew(
    chain: Chain, db: Database
) -> None:
    wait_trust(chain, db, changes.rotate(db, chain.pki_folder, "configuration", None).version)
    wait_trust(chain, db, changes.finish(db, chain.pki_folder, "configuration", None).version)
    assert code_of(db, changes.configure(db, chain.pki_folder, chain.gateway, location=3)) == DONE


def wait_trust(chain: Chain, db: Database, version: int, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while orders.confirmed(db).get(chain.gateway, 0) < version:
        assert time.monotonic() < deadline, (views.list_orders(centre(db)), chain.board.console()[-2000:])
        time.sleep(0.05)


def forged_receipt_is_refused(chain: Chain, key: SigningKey) -> None:
    """Presses help while no reception runs, answers with a receipt that `key` signed, and sees that nothing is settled."""
    wait_quiet(chain)
    chain.stop_reception()
    since = now_ms()
    before = len(stored(chain, "help"))
    chain.board.press("help")
    sent = chain.timeline.wait("gateway", "publish.end", since=since)
    assert sent is not None
    publish_receipt(chain, key, sent.detail["seq"])
    assert chain.timeline.wait("gateway", "settle.end", since=since, timeout_s=1.5) is None
    assert chain.light() == "sending"
    chain.start_reception()
    assert len(wait_stored(chain, "help", before + 1)) == before + 1
    assert chain.timeline.wait("gateway", "settle.end", since=since) is not None


def publish_receipt(chain: Chain, key: SigningKey, seq: int) -> None:
    """As whoever has the broker's good will and the event's bytes: here from the board's journal, by its hash."""
    context = ssl.create_default_context(cafile=chain.pki_folder / "root.pem")
    context.load_cert_chain(chain.pki_folder / "reception.pem", chain.pki_folder / "reception.key")
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "reception", protocol=paho.MQTTv5)
    client.tls_set_context(context)
    heard: list[bytes] = []
    client.on_message = lambda _c, _u, message: heard.append(bytes(message.payload))
    client.connect("localhost", chain.broker.port, clean_start=False)
    client.subscribe(topics.topic(chain.gateway, "alarm"), qos=1)
    client.loop_start()
    deadline = time.monotonic() + 15
    event = None
    while event is None and time.monotonic() < deadline:
        for data in heard:
            event = next(
                (e for e in decode_events(Envelope.from_bytes(data).payload, chain.gateway) if e.seq == seq), event
            )
        time.sleep(0.02)
    assert event is not None
    receipt = Receipt(
        gateway=chain.gateway, epoch=event.epoch, ranges=tuple(ranges_of({seq: event.sha256})),
        outcome=kinds.OUTCOME_STORED, utc_ms=utc_now_ms(),
    )  # fmt: skip
    topic = topics.topic(chain.gateway, "receipt")
    client.publish(topic, key.seal(receipt.to_bytes(), topic), qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def test_TP_CMD_017_drill_loss_of_the_reception_key(chain: Chain, db: Database) -> None:
    """Step by step as in host_tools/docs/pki.md."""
    wait_quiet(chain)
    chain.stop_reception()
    lost = SigningKey(files.load_key(chain.pki_folder / "receipt.key"))
    (chain.pki_folder / "receipt.key").unlink()
    before = len(stored(chain, "help"))
    chain.board.press("help")
    assert chain.wait_light("sending")
    with pytest.raises(TryggError, match=r"receipt\.key does not exist"):
        chain.start_reception()
    (chain.pki_folder / "command.key").rename(chain.folder / "command.key")  # nothing but the root is needed
    listed = changes.replace_lost(db, chain.pki_folder, "receipt", None)
    chain.start_reception()
    wait_trust(chain, db, listed.version)
    (chain.folder / "command.key").rename(chain.pki_folder / "command.key")
    assert len(wait_stored(chain, "help", before + 1)) == before + 1
    wait_quiet(chain)
    chain.board.press("help")
    assert chain.wait_light("sent"), "settled with the new key"
    forged_receipt_is_refused(chain, lost)


def test_TP_CMD_011_resend_after_the_database_was_restored_from_an_older_copy(chain: Chain, db: Database) -> None:
    wait_quiet(chain)
    chain.stop_reception()
    path = chain.folder / "reception.db"
    with (
        contextlib.closing(sqlite3.connect(path)) as source,
        contextlib.closing(sqlite3.connect(path.with_suffix(".old"))) as copy,
    ):
        source.backup(copy)
    chain.start_reception()
    before = len(stored(chain, "help"))
    for count in range(1, 4):
        chain.board.press("help")
        assert len(wait_stored(chain, "help", before + count)) == before + count
    wait_quiet(chain)
    chain.stop_reception()
    rows = "SELECT epoch, seq, sha256 FROM events ORDER BY epoch, seq"
    with contextlib.closing(sqlite3.connect(path)) as found:
        complete = found.execute(rows).fetchall()
    db._engine.dispose()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    shutil.copy(path.with_suffix(".old"), path)
    assert len(stored(chain, "help")) == before
    chain.start_reception()
    done = subprocess.run(
        [Path(sys.executable).parent / "tryggport", "reception", "resend", chain.gateway, "--pki", chain.pki_folder,
         "--first", str(complete[0][1]), "--last", str(complete[-1][1]), "--db", chain.database_url, "--json"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + chain.board.console()[-2000:]
    assert json.loads(done.stdout)["sent"] == len(complete) and json.loads(done.stdout)["missing"] == []
    deadline = time.monotonic() + 20
    while True:
        with contextlib.closing(sqlite3.connect(path)) as found:
            now = found.execute(rows).fetchall()
        if now == complete or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert now == complete, f"nothing lost, nothing doubled; {chain.board.console()[-1500:]}"
    assert chain.light() != "nobody_answered"


def test_the_command_line_shows_and_commands(chain: Chain, db: Database) -> None:
    def run(*arguments: object) -> str:
        command = [Path(sys.executable).parent / "tryggport", *map(str, arguments), "--db", chain.database_url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert chain.gateway in run("gateways", "list", "--pki", chain.pki_folder)
    since = now_ms()
    assert run("gateways", "restart", chain.gateway, "--pki", chain.pki_folder) == "Done.\n"
    assert chain.timeline.wait("board", "reset", since=since) is not None
    assert chain.timeline.wait("gateway", "settle.end", since=since) is not None
    assert "restart" in run("gateways", "orders", chain.gateway)
    assert "on its way" in run("pki", "push", "--dir", chain.pki_folder)
    assert json.loads(run("gateways", "list", "--pki", chain.pki_folder, "--json"))[0]["gateway"] == chain.gateway


def test_TP_CMD_014_TP_CMD_015_factory_reset_erases_everything_through_a_power_cut(chain: Chain, db: Database) -> None:
    wait_quiet(chain)
    chain.board.plan_cut("step:wipe.papers")
    assert code_of(db, commands.send(db, chain.pki_folder, chain.gateway, order.FACTORY_RESET, False)) == DONE
    chain.board.wait_for(lambda board: board.cut_happened, timeout_s=20)
    chain.board.power_on()
    chain.board.wait_for(lambda board: "run `tryggport provision`" in board.console(), timeout_s=20)
    with Link(chain.board.tty) as link:
        assert link.call("hello")["gateway"] is None
        left = link._run("import esp32; from gateway.store import Store; s = Store(esp32.NVS('trygg')); "
                         "print([n for n in ('tls', 'sign', 'wipe', 'orders', 'asked', 'journal') if s.get(n)])")  # fmt: skip
    assert left.decode().strip() == "[]"
