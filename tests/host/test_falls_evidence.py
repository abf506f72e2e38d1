"""Evidence of reported falls: exported without identities, and learnt from (TP-FAL-008)."""

import csv
from pathlib import Path

import pytest
from tryggport.cli.falls import app
from tryggport.errors import TryggError
from tryggport.falls import evidence, train
from tryggport.reception import cases, open_database, store, views
from tryggport.reception.tenants import centre
from tryggport.wire import kinds
from tryggport.wire.event import Event
from typer.testing import CliRunner

HARD = [2900, 95, 92, 80, 120, 1300, 60, 900]
SOFT = [1600, 60, 55, 40, 90, 600, 300, -100]


def report(db, gateway, seq, data, state=kinds.STATE_RAISED, ref=None, test=False):
    event = Event(gateway=gateway, epoch=bytes(8), seq=seq, boot=1, uptime_ms=1, kind=kinds.FALL, state=state, ref=ref,
                  test=test, severity=3, data=data)  # fmt: skip
    store.commit(db, [store.Arrival(gateway, True, Event.from_bytes(event.to_bytes()))], [], 1_700_000_000_000)


def close(db, gateway, cause, note=""):
    [case] = [c for c in views.list_cases(centre(db)) if c["gateway"] == gateway and c["status"] != "closed"]
    cases.take(centre(db), case["id"], "Kari Nordmann")
    cases.close(centre(db), case["id"], "Kari Nordmann", cause, note)


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path / 'reception.db'}"
    db = open_database(url)
    report(db, "kitchen-7", 0, {kinds.DATA_EVIDENCE: HARD})
    recovered = {kinds.DATA_EVIDENCE: [9000, 12, 140], kinds.DATA_VERDICT: kinds.VERDICT_RECOVERED}
    report(db, "kitchen-7", 1, recovered, kinds.STATE_UPDATED, ref=0)
    close(db, "kitchen-7", "Fall")
    report(db, "garage-2", 0, {kinds.DATA_EVIDENCE: SOFT})
    report(db, "garage-2", 1, {}, kinds.STATE_CLEARED, ref=0)
    close(db, "garage-2", "false alarm")
    report(db, "garage-2", 2, {kinds.DATA_EVIDENCE: SOFT})
    close(db, "garage-2", "other", "Ola Hansen sat down hard")
    report(db, "garage-2", 3, {kinds.DATA_EVIDENCE: SOFT}, test=True)
    report(db, "garage-2", 4, {kinds.DATA_EVIDENCE: SOFT[:3]})
    db.close()
    return url


def test_TP_FAL_008_the_export_tells_what_happened_and_to_nobody(url, tmp_path):
    file = tmp_path / "falls.csv"
    done = CliRunner().invoke(app, ["export", str(file), "--db", url])
    assert done.exit_code == 0, done.output
    assert "Wrote 3 reported falls" in done.stdout
    assert "of 2 the cause is known" in done.stdout
    text = file.read_text()
    for identity in ("kitchen", "garage", "Kari", "Ola", "1700000000"):
        assert identity not in text
    lines = sorted(csv.DictReader(text.splitlines()), key=lambda line: (line["peak_mg"], line["fall"]))
    told = [(line["fall"], line["cancelled"], line["then"], line["then_ms"], line["score"]) for line in lines]
    assert told == [("", "0", "", "", "-100"), ("0", "1", "", "", "-100"), ("1", "0", "recovered", "9000", "900")]
    assert lines[0]["home"] == lines[1]["home"] != lines[2]["home"]


def test_TP_FAL_008_labelled_lines_are_examples_to_learn_from(url, tmp_path):
    file = tmp_path / "falls.csv"
    CliRunner().invoke(app, ["export", str(file), "--db", url])
    found = {e.fall: e for e in evidence.read(file)}
    assert found[True].row == train.byte_row(HARD[:-1])
    assert found[False].row == train.byte_row(SOFT[:-1])
    assert found[True].person != found[False].person


def test_another_file_is_no_export(tmp_path: Path):
    (tmp_path / "other.csv").write_text("a,fall\n1,1\n")
    with pytest.raises(TryggError, match="no export of evidence"):
        evidence.read(tmp_path / "other.csv")
