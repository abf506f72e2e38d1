"""Cases across processes: what a person does with `tryggport cases` reaches the home as a receipt."""

import contextlib
import json

from reception_site import any_site, site  # noqa: F401
from tryggport.reception import cases, open_database, tenants
from tryggport.wire import kinds
from tryggport.wire.receipt import digest


def test_TP_WIR_016_a_person_takes_and_closes_the_case_and_the_home_hears_of_it(any_site):  # noqa: F811
    gateway = any_site.gateway()
    alarms = [gateway.event(kinds.HELP), gateway.event(kinds.FALL)]
    singles = {(seq, seq, digest([event.sha256])) for seq, event in enumerate(alarms)}
    with any_site.reception(), any_site.connected(gateway):
        gateway.birth()
        for event in alarms:
            gateway.send(event)
            assert gateway.receipt().outcome == kinds.OUTCOME_STORED
        assert gateway.receipts.empty()

        done = any_site.run("cases", "take", 1, "--by", "Kari", "--db", any_site.url)
        assert (done.returncode, done.stdout, done.stderr) == (0, "Case 1 is yours, Kari.\n", "")
        taken = gateway.receipt()
        assert (taken.outcome, set(taken.ranges), taken.epoch) == (kinds.OUTCOME_TAKEN, singles, gateway.epoch)
        assert any_site.wait_for(lambda: any_site.count("outbox") == 0)

        again = any_site.run("cases", "take", 1, "--by", "Ola", "--db", any_site.url)
        assert (again.returncode, again.stderr) == (1, "tryggport: Case 1 is taken already, by Kari.\n")
        none = any_site.run("cases", "take", 9, "--by", "Ola", "--db", any_site.url)
        assert none.returncode == 1
        assert none.stderr.startswith("tryggport: There is no case 9.\n")

        done = any_site.run("cases", "close", 1, "--by", "Kari", "--cause", "fall", "--db", any_site.url)
        assert (done.returncode, done.stdout) == (0, "Case 1 is closed.\n")
        closed = gateway.receipt()
        assert (closed.outcome, set(closed.ranges)) == (kinds.OUTCOME_CLOSED, singles)
    listed = json.loads(any_site.run("cases", "list", "--json", "--db", any_site.url).stdout)
    assert [(case["id"], case["status"], case["taken_by"], case["cause"]) for case in listed] == [
        (1, "closed", "Kari", "fall")
    ]
    assert [row["what"] for row in listed[0]["history"]] == ["help", "fall", "taken", "closed: fall"]


def test_TP_WIR_016_a_birth_is_answered_with_what_became_of_the_cases(site):  # noqa: F811
    gateway = site.gateway()
    with site.reception(), site.connected(gateway):
        gateway.birth()
        gateway.send(gateway.event())
        assert gateway.receipt().outcome == kinds.OUTCOME_STORED
    assert site.run("cases", "take", 1, "--by", "Kari", "--db", site.url).returncode == 0
    gateway.receipts.queue.clear()
    with site.reception():
        site.wait_step("receipt.end", 2)  # told while the gateway is off: the broker may keep it or not
        with site.connected(gateway):
            gateway.receipts.queue.clear()
            gateway.birth()
            assert site.wait_for(lambda: site.names().count("receipt.end") >= 3)
            outcomes = [gateway.receipt().outcome for _ in range(gateway.receipts.qsize() or 1)]
            assert outcomes[-1] == kinds.OUTCOME_TAKEN


def test_TP_WIR_016_however_much_there_is_to_tell_after_a_birth_it_takes_a_receipt_an_outcome(site):  # noqa: F811
    """A gateway keeps 16 receipts that it has yet to verify: with one for each case it might lose what is newest."""
    gateway = site.gateway()
    with contextlib.closing(open_database(site.url)) as database, site.reception(), site.connected(gateway):
        centre = tenants.centre(database)
        for case in range(1, 21):
            gateway.send(gateway.event())
            assert site.wait_for(lambda wanted=case: site.count("cases") == wanted)
            cases.take(centre, case, "Kari")
            if case < 20:
                cases.close(centre, case, "Kari", "fall")
        assert site.wait_for(lambda: site.count("outbox") == 0)
        gateway.receipts.queue.clear()
        gateway.birth()
        told = {found.outcome: found for found in (gateway.receipt(), gateway.receipt())}
        assert {seq for seq, _, _ in told[kinds.OUTCOME_CLOSED].ranges} == set(range(19))
        assert [seq for seq, _, _ in told[kinds.OUTCOME_TAKEN].ranges] == [19]
        assert site.wait_for(lambda: site.count("outbox") == 0)
        assert gateway.receipts.empty()


def test_what_was_taken_while_the_reception_was_off_is_told_when_it_is_back(site):  # noqa: F811
    gateway = site.gateway()
    with site.connected(gateway):
        with site.reception():
            gateway.send(gateway.event())
            assert gateway.receipt().outcome == kinds.OUTCOME_STORED
        assert site.run("cases", "take", 1, "--by", "Kari", "--db", site.url).returncode == 0
        assert site.count("outbox") == 1
        with site.reception():
            assert gateway.receipt().outcome == kinds.OUTCOME_TAKEN
            assert site.wait_for(lambda: site.count("outbox") == 0)


def test_lists_and_status_tell_a_person_and_a_program_the_same(site):  # noqa: F811
    gateway = site.gateway()
    with site.reception(), site.connected(gateway):
        gateway.birth()
        gateway.send(gateway.event(kinds.FALL, test=True, location=20, sensor="belt"))
        gateway.receipt()
        gateway.publish(b"junk")
        assert site.wait_for(lambda: site.count("refusals"))
    events = json.loads(site.run("events", "list", "--json", "--db", site.url).stdout)
    assert [(e["gateway"], e["kind"], e["test"], e["sensor"], e["case"]) for e in events] == [
        ("kitchen-7", "fall", True, "belt", 1)
    ]  # fmt: skip
    assert "fall raised (test)" in site.run("events", "list", "--db", site.url).stdout
    assert "fall (test): new" in site.run("cases", "list", "--open", "--db", site.url).stdout
    status = json.loads(site.run("reception", "status", "--json", "--db", site.url).stdout)
    assert [(g["gateway"], g["online"]) for g in status["gateways"]] == [("kitchen-7", True)]
    assert [(r["gateway"], r["reason"], r["count"]) for r in status["refusals"]] == [("kitchen-7", "malformed", 1)]
    shown = site.run("reception", "status", "--db", site.url).stdout
    assert "refused 1 of kitchen-7: malformed" in shown
    assert "on line" in shown
    nothing = site.run("events", "list", "--db", f"sqlite:///{site.folder}/other.db")
    assert nothing.returncode == 1
    assert nothing.stderr.startswith(f"tryggport: There is no database {site.folder}/other.db.")
