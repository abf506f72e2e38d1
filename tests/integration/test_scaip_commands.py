"""`tryggport scaip` as people and programs use it."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from scaip_site import arc, make_tls
from tryggport.errors import TryggError
from tryggport.scaip import errand
from tryggport.scaip.digest import Credentials
from tryggport.scaip.quirks import QUIRKS
from tryggport.sim.broker import free_port

TRYGGPORT = str(Path(sys.executable).parent / "tryggport")
MINE = {"possum": "heartbeat", "syntilio": "fall detector: automatic alarm"}


def run(*arguments, folder=None):
    return subprocess.run(
        [TRYGGPORT, "scaip", *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=folder
    )


@contextlib.contextmanager
def centre_process(*options):
    """`scaip centre` on a free port: (process, port, lines)."""
    port = free_port()
    command = [
        TRYGGPORT,
        "scaip",
        "centre",
        "--listen",
        f"udp:127.0.0.1:{port}",
        "--listen",
        f"tcp:127.0.0.1:{port}",
        *options,
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr.readline().startswith("centre: listening, udp ")
        yield process, port
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_the_centre_shows_what_it_sees_and_misbehaves_as_it_is_told():
    with centre_process("--behave", "busy") as (process, port):
        receivers = ["--to", f"sip:arc@127.0.0.1:{port}", "--to", f"sip:arc@127.0.0.1:{port};transport=tcp"]
        sent = run("send", *receivers, "--cid", "4700012345", "--kind", "fall", "--location", 11, "--sensor", "belt")
        assert (sent.returncode, sent.stderr) == (1, "")
        assert sorted((line.split()[0], line.rsplit(": ")[1]) for line in sent.stdout.splitlines()) == [
            ("FAILED", "busy"), ("ok", "accepted")
        ]  # fmt: skip
        shown = sorted(process.stdout.readline()[9:].strip() for _ in range(2))
        assert shown[0] == "4700012345  alarm       fall detector: automatic alarm · bathroom, belt · Fall  → accepted"
        assert shown[1].endswith("→ busy")
        process.stdin.write("nonsense\nsnu=5\n")
        process.stdin.flush()
        assert "There is no behaviour 'nonsense'" in process.stderr.readline()
        again = run("send", *receivers[:2], "--cid", "4700012345", "--state", "cleared", "--json")
        (found,) = json.loads(again.stdout)
        assert (again.returncode, found["delivered"], found["snu"], found["why"]) == (1, False, 5, "not treated")
        assert (
            process.stdout.readline()[9:].strip()
            == "4700012345  reset       fixed trigger: cancelled · Hjelpeknapp  → not treated"
        )


def test_the_centre_prints_json_for_programs():
    with centre_process("--json", "--always", "inside") as (process, port):
        assert run("test", "--to", f"sip:arc@127.0.0.1:{port}", "--cid", 12).returncode == 0
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        assert [(line["mty"], line["stc"], line["snu"], line["from"]) for line in lines] == [
            ("PI", 102, 0, "12"), ("ME", 102, 0, "12"), ("RE", 102, 0, "12")
        ]  # fmt: skip


def test_a_home_is_tested_at_each_receiver(tmp_path):
    tls = make_tls(tmp_path)
    login = tmp_path / "login.toml"
    login.write_text('["localhost"]\nuser = "bridge"\npassword = "horse"\n')
    with arc(tls=tls, credentials=Credentials("bridge", "horse")) as first, arc("ok,503,ok") as second:
        options = ["--credentials", login, "--ca", tmp_path / "cert.pem", "--cid", "12", "--call-back", "+4791234567"]
        done = run("test", "--to", first.tls, "--to", second.udp, *options)
        assert done.returncode == 1
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok", "ok", "ok", "ok", "FAILED", "ok"]
        assert [seen.transport for seen in first.seen] == ["TLS"] * 3
        assert {seen.request.crd for seen in first.seen if seen.request.mty == "ME"} == {"tel:+4791234567"}
        assert {seen.request.stc for seen in (*first.seen, *second.seen)} == {102}


@pytest.mark.parametrize("name", ["possum", "syntilio"])
def test_quirks_can_be_sent_to_any_centre(name):
    with arc() as centre:
        done = run("send", "--to", centre.tcp, "--cid", "12", "--quirk", name)
        assert (done.returncode, done.stderr) == (0, "")
        assert MINE[name] in centre.seen[0].told()
        assert (centre.seen[0].request.mty, centre.seen[0].request.dty, centre.seen[0].request.stc) == QUIRKS[name][2]


def test_homes_are_onboarded_from_a_csv_and_only_what_failed_is_repeated(tmp_path):
    table = tmp_path / "homes.csv"
    table.write_text("\ufeffgateway;cid;call_back\nkitchen-7;0001;+47 912 34 567\ngarage-2;0002;\ncabin-03;0003;\n")
    with arc() as first, arc() as second:
        options = ["onboard", "--csv", table, "--to", first.udp, "--to", second.udp]
        dry = run(*options, "--dry-run", folder=tmp_path)
        assert dry.stdout == f"{table}: 3 homes, 6 of 6 checks to do\n"
        assert first.seen == []
        second.behave("503")
        done = run(*options, "--json", folder=tmp_path)
        report = json.loads(done.stdout)
        assert (done.returncode, report["homes"], report["ok"], report["failed"], report["skipped"]) == (1, 3, 5, 1, 0)
        rows = (tmp_path / "onboarded.csv").read_text().splitlines()
        assert rows[0] == "gateway,cid,receiver,result,why"
        assert (len(rows), sum(",failed," in row for row in rows)) == (7, 1)
        again = run(*options, folder=tmp_path)
        assert (again.returncode, again.stdout) == (0, "6 of 6 are through, 0 are not. See onboarded.csv\n")
        assert (len(first.seen), len(second.seen)) == (3, 4)
        assert {seen.request.mty for seen in first.seen} == {"PI"}


@pytest.mark.parametrize(("text", "what"), [
    ("gateway,name\nkitchen-7,1\n", "has no column cid"),
    ("gateway,cid\n", "names no home"),
    ("gateway,cid\nKitchen,1\n", "line 2: 'Kitchen' is not a gateway id"),
    ("gateway,cid\nkitchen-7,12x\n", "line 2: '12x' is not a cid"),
    ("gateway,cid\nkitchen-7,1\nkitchen-7,2\n", "line 3: kitchen-7 is there twice"),
    ("gateway,cid\nkitchen-7,1\nkitchen-8,1\n", "line 3: cid 1 is there twice"),
    ("gateway,cid,call_back\nkitchen-7,1,Kari\n", "is not a number"),
])  # fmt: skip
def test_a_bad_list_is_told_by_its_lines(tmp_path, text, what):
    table = tmp_path / "homes.csv"
    table.write_text(text)
    with pytest.raises(TryggError) as caught:
        errand.read_homes(table)
    assert what in caught.value.message


@pytest.mark.parametrize(("arguments", "code", "what"), [
    (["send", "--to", "nonsense", "--cid", "1"], 2, "'nonsense' is not a SIP address."),
    (["send", "--to", "sip:a@b", "--cid", "1", "--kind", "flood"], 2, "Kinds: fall help"),
    (["send", "--to", "sip:a@127.0.0.1:9", "--cid", "one"], 1, "cid cannot be 'one'"),
    (["send", "--to", "sip:a@b", "--cid", "1", "--listen", "tls:127.0.0.1:0"], 2, "needs a certificate"),
    (["send", "--to", "sip:a@b", "--cid", "1", "--ca", "/nowhere.pem"], 1, "/nowhere.pem cannot be used as trust"),
    (["centre", "--behave", "sing"], 2, "There is no behaviour 'sing'"),
])  # fmt: skip
def test_bad_input_is_one_sentence(arguments, code, what):
    done = run(*arguments)
    assert done.returncode == code
    assert what in done.stderr
    assert "Traceback" not in done.stderr
