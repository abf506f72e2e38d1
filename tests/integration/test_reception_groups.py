"""Group commit: what waits is committed together, with one sync, and one bad message does nothing to the others."""

import os
import signal
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from reception_site import site  # noqa: F401
from tryggport.reception import open_database, store
from tryggport.wire import cbor, kinds, topics

STORED, DUPLICATE, CONFLICT = kinds.OUTCOME_STORED, kinds.OUTCOME_DUPLICATE, kinds.OUTCOME_CONFLICT
WAL_HEADER, FRAME_HEADER = 32, 24


def commits(database):
    """Transactions in SQLite's log (file format, section 4.1): the last frame of each names the size of the database. With
    synchronous = FULL each of them is one sync."""
    log = (database.parent / f"{database.name}-wal").read_bytes()
    page = int.from_bytes(log[8:12], "big")
    heads = range(WAL_HEADER, len(log), FRAME_HEADER + page)
    salts = log[16:24]
    return sum(log[at + 4 : at + 8] != bytes(4) and log[at + 8 : at + 16] == salts for at in heads)


def settled(gateway, count, timeout_s=20):
    """seq: outcome, from receipts that name so many."""
    found = {}
    while len(found) < count:
        receipt = gateway.receipt(timeout_s)
        for span in receipt.ranges:
            found |= dict.fromkeys(range(span.first, span.last + 1), receipt.outcome)
    return found


def test_TP_REC_250_many_events_are_one_transaction_and_one_sync(tmp_path):
    from tryggport.wire.event import Event

    database = tmp_path / "reception.db"
    made = [
        Event.from_bytes(
            Event(gateway=f"home-{n:04}", epoch=bytes(8), seq=0, boot=1, uptime_ms=n, kind=kinds.HELP).to_bytes()
        )
        for n in range(600)
    ]
    with closing(open_database(f"sqlite:///{database}")) as db:
        with db.read() as tx:
            assert tx.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        before = commits(database)
        outcomes = store.commit(db, [store.Arrival(e.gateway, True, e) for e in made], [], 1_800_000_000_000)
        assert commits(database) == before + 1
    assert [item.outcome for item in outcomes] == [STORED] * 600


def waiting(site, gateway, envelopes):  # noqa: F811
    """Envelopes (payload, leaf) that came while the reception was away."""
    with site.reception():
        pass  # its session is there, it is not
    site.steps.clear()
    for payload, leaf in envelopes:
        gateway.post(payload, leaf)


def test_TP_REC_251_bad_messages_in_a_group_take_nothing_with_them(site):  # noqa: F811
    gateway = site.gateway()
    good = [gateway.event(kinds.MAINS, severity=2) for _ in range(120)]
    envelopes = [(gateway.seal(event, leaf=topics.EVENT), topics.EVENT) for event in good]
    forged = bytearray(envelopes[0][0])
    forged[-1] ^= 1
    gateway.next_seq = 3
    other = gateway.event(kinds.FALL)  # under a number that is taken
    odd = cbor.encode([{1: gateway.id, 2: gateway.epoch, 3: 120, 99: "no kind"}])
    bad = [
        (bytes(forged), topics.EVENT),
        (b"no envelope", topics.ALARM),
        (gateway.key.seal(b"\xff no event", topics.topic(gateway.id, topics.ALARM)), topics.ALARM),
        (gateway.key.seal(b"\x01", topics.topic(gateway.id, topics.STATUS)), topics.STATUS),
        (gateway.key.seal(odd, topics.topic(gateway.id, topics.EVENT)), topics.EVENT),
        (gateway.seal(other), topics.ALARM),
        envelopes[5],
    ]
    mixed = envelopes[:10]
    for n, envelope in enumerate(bad):
        mixed += [envelope, *envelopes[10 * (n + 1) : 10 * (n + 2)]]
    mixed += envelopes[80:]
    with site.connected(gateway):
        waiting(site, gateway, mixed)
        assert site.wait_for(lambda: len(gateway._reasons) == len(mixed))
        with site.reception():
            found = settled(gateway, 121)
            site.wait_step("puback", len(mixed))
    assert {found[n] for n in range(120) if n not in (3, 5)} == {STORED}
    assert found[120] == kinds.OUTCOME_RAW
    assert site.count("events") == 121
    assert site.count("conflicts") == site.count("unreadable") == 1
    assert dict(site.query("SELECT reason, count FROM refusals")) == {"bad_signature": 1, "malformed": 2}
    sizes = [detail["events"] for name, detail in site.steps if name == "commit.begin"]
    assert len(sizes) < 20 and max(sizes) > 50, sizes  # 124 messages


@pytest.mark.parametrize(("step", "outcomes"), [("commit.begin", {STORED}), ("commit.end", {STORED, DUPLICATE})])
def test_TP_REC_252_a_kill_about_the_commit_of_a_group_loses_and_doubles_nothing(site, step, outcomes):  # noqa: F811
    gateway = site.gateway()
    made = [gateway.event(kinds.HELP) for _ in range(60)]
    with site.connected(gateway):
        waiting(site, gateway, [(gateway.seal(event), topics.ALARM) for event in made])
        assert site.wait_for(lambda: len(gateway._reasons) == len(made))
        with site.reception_killed_at(step) as process:
            assert process.wait(20) == -signal.SIGKILL
        stored = site.count("events")
        assert gateway.receipts.empty()
        assert (stored > 0) == (step == "commit.end")
        with site.reception():
            found = settled(gateway, len(made))
    assert set(found.values()) <= outcomes
    assert sum(outcome == DUPLICATE for outcome in found.values()) == stored
    assert sorted(site.query("SELECT encoded FROM events")) == sorted((event.to_bytes(),) for event in made)
    assert site.count("cases") == 1


def test_TP_REC_250_one_that_comes_alone_waits_for_no_other(site):  # noqa: F811
    gateway = site.gateway()
    with site.reception(), site.connected(gateway):
        for _ in range(5):
            gateway.send(gateway.event())
            gateway.receipt()
    assert [detail["events"] for name, detail in site.steps if name == "commit.begin"] == [1] * 5


def test_TP_REC_250_a_group_is_verified_in_its_order(site):  # noqa: F811
    """Whichever process verifies, each message keeps its own verdict."""
    gateway = site.gateway()
    envelopes = []
    for n in range(400):
        sealed = bytearray(gateway.seal(gateway.event(kinds.MAINS, severity=2), leaf=topics.EVENT))
        if n % 7 == 0:
            sealed[-1] ^= 1
        envelopes.append((bytes(sealed), topics.EVENT))
    with site.connected(gateway):
        waiting(site, gateway, envelopes)
        assert site.wait_for(lambda: len(gateway._reasons) == len(envelopes), 30)
        with site.reception():
            good = set(settled(gateway, 400 - len(range(0, 400, 7))))
    assert good == {n for n in range(400) if n % 7}
    assert site.names().count("refused") == len(range(0, 400, 7))


def verifiers(parent):
    """The processes of a reception that verify."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may end meanwhile
            is_child = f"\nPPid:\t{parent}\n" in (process / "status").read_text()
            if is_child and b"tryggport.wire.verifier" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def test_TP_REC_250_kill_9_of_the_process_that_verifies_loses_nothing_and_doubles_nothing(site):  # noqa: F811
    """Alarms flow in groups, one in ten with another's signature; whenever there is a verifier it is killed."""
    gateway = site.gateway()
    count = 0
    with site.reception_process() as reception, site.connected(gateway):
        killed = set()
        deadline = time.monotonic() + 60
        while len(killed) < 3:
            assert time.monotonic() < deadline, killed
            for n in range(200):
                sealed = gateway.seal(gateway.event(kinds.HELP))
                gateway.post(sealed)
                if n % 10 == 0:
                    gateway.post(sealed[:-1] + bytes((sealed[-1] ^ 1,)))
            count += 200
            for pid in verifiers(reception.pid):
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
        assert settled(gateway, count, 30) == dict.fromkeys(range(count), STORED)
        assert reception.poll() is None
        reception.terminate()
        assert reception.wait(20) == 0
    assert site.count("events") == count
    assert site.query("SELECT sum(count) FROM refusals WHERE reason = 'bad_signature'") == [(count // 10,)]


def test_TP_REC_250_a_worker_that_does_not_lead_forgets_what_the_broker_has_acknowledged(site):  # noqa: F811
    gateway = site.gateway()
    with site.connected(gateway), site.reception(leads=lambda: False) as reception:
        for seq in range(3):
            gateway.post(gateway.seal(gateway.event()))
            assert settled(gateway, 1) == {seq: STORED}
        (link,) = reception._links._links
        assert site.wait_for(lambda: link.idle and link._delivered.empty())
