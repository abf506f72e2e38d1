"""A reception on two brokers: receipts over the path of the event, outcomes over both, and one broker is enough."""

import json
import sys
from pathlib import Path

import pytest
from reception_site import Site
from tryggport.errors import TryggError
from tryggport.reception import cases, open_database, views
from tryggport.reception.tenants import centre
from tryggport.sim.broker import free_port, mosquitto
from tryggport.wire import kinds

sys.path.append(str(Path(__file__).parents[1] / "host"))
from reception_databases import written_by


class TwoBrokers(Site):
    def __init__(self, folder):
        super().__init__(folder)
        self.ports = (self.port, free_port())
        self.said = []

    def broker_of(self, path):
        return mosquitto(self.folder / f"broker{path}", self.pki, self.ports[path])

    def reception(self, **options):
        return super().reception(others=[(self.host, self.ports[1])], say=self.said.append, **options)

    def over(self, gateway, path):
        return gateway.connected(self.host, self.ports[path])


@pytest.fixture
def site(tmp_path):
    return TwoBrokers(tmp_path)


def test_TP_WIR_031_receipts_go_over_the_path_of_the_event_and_outcomes_over_both(site):
    here, there = site.gateway("kitchen-7"), site.gateway("garage-2")
    with site.broker_of(0), site.broker_of(1), site.reception():
        with site.over(here, 0), site.over(there, 1):
            here.send(here.event())
            there.send(there.event())
            assert here.receipt().outcome == there.receipt().outcome == kinds.OUTCOME_STORED
        with site.over(here, 1):  # the same session of another broker: nothing was sent there
            assert here.receipts.empty()
            cases.take(centre(open_database(site.url)), 1, "Kari")
            taken = {"kitchen-7": here, "garage-2": there}
            (case,) = [c for c in views.list_cases(centre(open_database(site.url))) if c["id"] == 1]
            if case["gateway"] == "kitchen-7":
                assert here.receipt().outcome == kinds.OUTCOME_TAKEN
        gateway = taken[case["gateway"]]
        for path in (0, 1):
            with site.over(gateway, path):
                cases.close(centre(open_database(site.url)), 1, "Kari", "fall") if path == 0 else None
                assert site.wait_for(lambda: kinds.OUTCOME_CLOSED in outcomes(gateway)), path
        assert site.wait_for(lambda: site.count("outbox") == 0), "told, and forgotten"
    assert gateway.bad_receipts == 0


def outcomes(gateway):
    found = []
    while not gateway.receipts.empty():
        found.append(gateway.receipts.get().outcome)
    return found


def test_TP_WIR_031_one_broker_is_enough_and_the_other_is_named_and_tried_again(site):
    gateway = site.gateway()
    with site.broker_of(1), site.reception():
        assert any(f"{site.host}:{site.ports[0]}" in text and "without it" in text for text in site.said), site.said
        with site.over(gateway, 1):
            gateway.send(gateway.event())
            assert gateway.receipt().outcome == kinds.OUTCOME_STORED
        with site.broker_of(0):
            again = f"connected to the broker at {site.host}:{site.ports[0]} again"
            assert site.wait_for(lambda: again in site.said, 20), site.said
            with site.over(gateway, 0):
                gateway.send(gateway.event())
                assert gateway.receipt().outcome == kinds.OUTCOME_STORED
        assert site.wait_for(lambda: any("is gone" in text for text in site.said))


def test_without_any_broker_it_does_not_serve(site):
    with pytest.raises(TryggError, match="No broker answers"), site.reception():
        pass


def test_TP_WIR_038_presence_is_kept_for_each_path(site):
    gateway = site.gateway()
    with site.broker_of(0), site.broker_of(1), site.reception():
        for path in (0, 1):
            with site.over(gateway, path):
                gateway.birth(path=path)
        site.wait_step("online", 2)
        shown = site.run("reception", "status", "--db", site.url).stdout
        assert "path 0  resting" in shown and "path 1  on line" in shown
        with site.over(gateway, 0):
            gateway.birth(path=0)
            site.wait_step("online", 3)
            gateway.birth(path=1, connect=2)  # a late copy of an older session changes nothing
            site.wait_step("online", 4)
        report = json.loads(site.run("reception", "status", "--json", "--db", site.url).stdout)
    assert [(g["path"], g["state"], g["online"]) for g in report["gateways"]] == [
        (0, "on line", True),
        (1, "resting", False),
    ]


def test_TP_WIR_038_a_database_of_one_path_keeps_its_statuses(site):
    """The schema of before has one row a gateway."""
    with written_by("0005", site.url) as connection:
        connection.exec_driver_sql(
            "INSERT INTO statuses (gateway, epoch, boot, connect, online, next_seq, alarms, events, uptime_ms, quality, path, firmware,"
            " seen_ms) VALUES ('kitchen-7', x'00', 1, 2, 1, 3, 0, 0, 9, 0, 0, '0.1.0', 5)"
        )
    open_database(site.url).close()
    assert site.query("SELECT gateway, path, boot, connect, seen_ms FROM statuses") == [("kitchen-7", 0, 1, 2, 5)]


def test_TP_WIR_039_an_operator_sees_conflicts_and_unreadable_alarms(site):
    gateway = site.gateway()
    with site.broker_of(0), site.broker_of(1), site.reception(), site.over(gateway, 0):
        first = gateway.event(kinds.FALL)
        gateway.send(first)
        gateway.next_seq = first.seq
        gateway.send(gateway.event(kinds.HELP))
        for _ in range(3):
            gateway.publish(gateway.key.seal(b"\x9f\xff no events", f"trygg/1/{gateway.id}/alarm"))
        site.wait_step("puback", 5)
    events = json.loads(site.run("events", "list", "--json", "--db", site.url).stdout)
    seen = sorted((e["kind"], e["conflict"], e["seq"], e.get("copies"), e["case"]) for e in events)
    assert seen == [("fall", False, 0, None, 1), ("help", True, 0, None, 1), ("unreadable", False, None, 3, 1)]
    shown = site.run("events", "list", "--db", site.url).stdout
    assert "conflict: other bytes under this number" in shown and "unreadable 3 x" in shown
    status = json.loads(site.run("reception", "status", "--json", "--db", site.url).stdout)
    assert [(c["seq"], c["case_id"]) for c in status["conflicts"]] == [(0, 1)]
    assert [(u["copies"], u["case_id"]) for u in status["unreadable"]] == [(3, 1)]
    shown = site.run("reception", "status", "--db", site.url).stdout
    assert "conflict from kitchen-7" in shown and "3 x" in shown
    (case,) = views.list_cases(centre(open_database(site.url)))
    told = [row["what"] for row in case["history"]]
    assert told == ["fall", "help, other bytes under the same number", "unreadable alarm"]
