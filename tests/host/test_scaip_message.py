"""SCAIP's XML: what goes out is within the limits and means the same when it is read; what comes in is read, or one clear error."""

import contextlib
import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_wire_properties import epochs, gateway_ids, seqs, times
from tryggport.scaip import codes, names, sip
from tryggport.scaip.agent import MAX_DATAGRAM, Agent
from tryggport.scaip.codes import Home
from tryggport.scaip.message import (
    MAX_BODY,
    MEDIA_TYPE,
    REPLY_TAGS,
    REQUEST_TAGS,
    TAG_MISSING,
    TOO_LONG,
    Reply,
    Request,
    ScaipError,
    parse,
)
from tryggport.scaip.quirks import QUIRKS, quirky
from tryggport.wire import fields, kinds
from tryggport.wire.event import Event

HOME = Home("4700012345")
FALL = Request(ref="9f3c01aa20e40007", cid="4700012345", dty=5, stc=9)
sensors = st.none() | st.text(min_size=1, max_size=16).filter(lambda text: len(text.encode("utf-8", "replace")) <= 16)
homes = st.builds(
    Home, st.from_regex("[0-9]{1,16}", fullmatch=True), st.none() | st.from_regex(r"\+[0-9]{4,15}", fullmatch=True)
)
extremes = st.builds(
    Event,
    gateway=gateway_ids,
    epoch=epochs,
    seq=seqs,
    boot=st.just(1),
    uptime_ms=st.just(fields.UINT_MAX),
    utc_ms=st.none() | times | st.sampled_from([fields.UTC_MS_MIN, fields.UTC_MS_MAX]),
    kind=st.sampled_from(sorted(kinds.KINDS)) | st.integers(1, 255),
    state=st.sampled_from(sorted(kinds.STATES)),
    test=st.booleans(),
    sensor=sensors,
    location=st.none() | st.integers(0, 999),
    data=st.dictionaries(st.just(kinds.DATA_VERDICT), st.integers(0, 3) | st.text(max_size=8), max_size=1),
)


def within_limits(xml):
    """Checks the text of each tag against the limits, by hand and not by our reader."""
    found = re.findall(r"<([a-z]{3})>([^<]*)</\1>", xml.decode())
    assert len(found) == xml.count(b"</") - 1
    for tag, text in found:
        text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        assert re.fullmatch((REQUEST_TAGS | REPLY_TAGS)[tag].pattern, text), (tag, text)
    return dict(found)


@given(extremes, homes, st.booleans())
def test_TP_SCA_001_TP_SCA_002_any_event_is_a_valid_message_that_means_the_same(event, home, alarm):
    request = codes.request_for(event, home, alarm=alarm)
    xml = request.to_xml()
    tags = within_limits(xml)
    assert {"ref", "cid", "dty", "mty", "stc", "ver"} <= tags.keys()
    assert (len(tags["dty"]), len(tags["stc"])) == (4, 4)
    read = parse(xml)
    assert read == request
    meaning = codes.meaning(read)
    assert (meaning.kind, meaning.state, meaning.test) == (event.kind, event.state, event.test)
    assert (meaning.gateway, meaning.seq) == (event.gateway, event.seq)
    assert (meaning.utc is None) == (event.utc_ms is None)
    assert read.lco == event.location
    assert (read.mty == "RE") == (event.state == kinds.STATE_CLEARED)
    assert parse(request.reduced().to_xml()) == request.reduced()


@given(extremes, homes)
def test_TP_SCA_001_any_message_fits_a_datagram(event, home):
    agent = Agent(None, advertise="bridge.reception.municipality.example", ports={"UDP": 65535})
    body = codes.request_for(event, home, alarm=True).to_xml()
    sent = agent.message("sip:alarm-receiver@arc.primary.centre.example:5060", "UDP", home.cid, body, MEDIA_TYPE)
    answered = sent.with_header("authorization", "x" * 330)  # what a digest answer takes
    assert len(answered.to_bytes()) <= MAX_DATAGRAM


@pytest.mark.parametrize("kind", kinds.KINDS.values(), ids=lambda kind: kind.name)
def test_TP_SCA_001_the_codes_are_those_of_events_toml_and_a_cancel_is_a_reset(kind):
    event = {"gateway": "kitchen-7", "epoch": bytes(8), "seq": 1, "boot": 1, "uptime_ms": 0, "kind": kind.code}
    raised = codes.request_for(Event(**event), HOME, alarm=kind.alarm)
    assert (raised.mty, raised.dty, raised.stc) == kind.scaip
    cleared = codes.request_for(Event(**event, state=kinds.STATE_CLEARED), HOME, alarm=kind.alarm)
    assert (cleared.mty, cleared.dty, cleared.stc) == ("RE", *(kind.cleared or ("", kind.scaip[1], 94))[1:])
    tried = codes.request_for(Event(**event, test=True), HOME, alarm=kind.alarm)
    assert (tried.mty, tried.dty, tried.stc) == (kind.scaip[0], kind.scaip[1], 102)
    assert names.device(raised.dty) != f"device {raised.dty}"
    assert names.status(cleared.stc) != f"status {cleared.stc}"
    without_text = dataclasses.replace(raised, ite=None)
    assert kinds.KINDS[codes.meaning(without_text).kind].scaip == kind.scaip


def test_TP_SCA_002_codes_of_nobody_and_heartbeats_mean_no_event():
    assert codes.meaning(Request(ref="1", cid="1", dty=51, stc=126)) is None
    assert codes.meaning(codes.heartbeat(HOME, "1", 0)) is None
    assert codes.unreadable_alarm(HOME, "1").mty == "ME"


def test_TP_SCA_004_a_reference_is_the_same_always_and_another_for_each_event():
    event = {"gateway": "kitchen-7", "epoch": bytes(8), "seq": 1, "boot": 1, "uptime_ms": 0, "kind": kinds.FALL}
    first = codes.request_for(Event(**event), HOME, alarm=True)
    assert codes.request_for(Event(**event, utc_ms=fields.UTC_MS_MIN), HOME, alarm=True).ref == first.ref
    others = {codes.reference("kitchen-7", bytes(8), seq) for seq in range(1000)}
    others |= {codes.reference("kitchen-8", bytes(8), 1), codes.reference("kitchen-7", bytes(7) + b"\1", 1)}
    assert len(others) == 1002
    assert first.ref in others


def test_TP_SCA_001_values_beyond_a_limit_never_go_out():
    for bad in ({"cid": "1x"}, {"cid": ""}, {"cid": "1" * 17}, {"ref": "a-b"}, {"dty": 12345}, {"dty": -1}, {"dte": "x" * 33},
                {"stt": "a\nb"}, {"dte": "a\0b"}, {"did": "x" * 9}, {"mty": "XX"}, {"crd": "http:"}, {"cid": "１２"}):  # fmt: skip
        with pytest.raises(ScaipError, match="cannot be"):
            dataclasses.replace(FALL, **bad).to_xml()


@given(st.builds(
    Reply, ref=st.from_regex("[0-9A-Za-z]{1,16}", fullmatch=True), snu=st.integers(0, 99999),
    ste=st.none() | st.text("aæ<&>\"'日 ", min_size=1, max_size=128).map(str.strip).filter(bool).filter(lambda s: "  " not in s),
    mre=st.none() | st.integers(0, 99), cre=st.none() | st.integers(0, 99), hbi=st.none() | st.integers(0, 4),
))  # fmt: skip
def test_TP_SCA_002_a_reply_survives_the_wire(reply):
    assert parse(reply.to_xml()) == reply


@pytest.mark.parametrize("name", QUIRKS)
def test_TP_SCA_003_what_real_devices_send_is_read(name):
    _, body = quirky(name, "4700012345", "9f3c01aa")
    read = parse(body)
    assert (read.ref, read.cid) == ("9f3c01aa", "4700012345")
    assert (read.mty, read.dty, read.stc) == QUIRKS[name][2]
    if name == "latin-1":
        assert read.lte == "Kjøkken"
    if name == "position":
        assert read.other == {"geo": "63.43,10.39", "tim": "2026-11-22T03:10:00.00"}


@pytest.mark.parametrize(("body", "snu", "what"), [
    (b"", 2, "broken"), (b"junk", 2, "broken"), (b"<mrq>", 2, "broken"), (b"\xff\xfe<", 2, "broken"),
    (b"<mrq/>", TAG_MISSING, "ref is missing"),
    (b"<mrq><ref>a</ref><cid>1</cid></mrq>", TAG_MISSING, "dty is missing"),
    (b"<mrq><ref>a</ref><dty>1</dty></mrq>", TAG_MISSING, "cid is missing"),
    (b"<mrs><snu>0</snu></mrs>", TAG_MISSING, "ref is missing"),
    (b"<mrq><ref>a</ref><cid>1</cid><dty>five</dty></mrq>", 3, "not a number"),
    (b"<mrq><ref>a</ref><cid>1</cid><dty>999999</dty></mrq>", 3, "not a number"),
    (b"<mrq><ref>a b</ref><cid>1</cid><dty>5</dty></mrq>", 3, "ref cannot be"),
    (b"<mrq><ref>a</ref><cid>1</cid><cid>2</cid><dty>5</dty></mrq>", 2, "twice"),
    ("<mrq><ref>a</ref><cid>１</cid><dty>5</dty></mrq>".encode(), 3, "cid cannot be"),
    (b"<!DOCTYPE m [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]><mrq><ref>&b;</ref></mrq>", 2, "document type"),
    (b"<!DOCTYPE m [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><mrq><ref>&x;</ref></mrq>", 2, "document type"),
    (b"<!DOCTYPE m SYSTEM 'http://127.0.0.1/x.dtd'><mrq/>", 2, "document type"),
    (b"<?xml version='1.0' encoding='utf-7'?><mrq/>", 2, "encoding"),
    (b"<?xml version='1.0' encoding='nonsense'?><mrq/>", 2, "encoding"),
    (b"<?xml version='1.0' encoding='utf-16'?><mrq/>", 2, "broken"),
    (b"<mrq>" + b"<a>" * 2000, 2, "broken"),
    (b"<a>" * 100 + b"</a>" * 100, TOO_LONG, "tags"),
    (b"<mrq>" + b"<x>1</x>" * 100 + b"</mrq>", TOO_LONG, "tags"),
    (b" " * (MAX_BODY + 1), TOO_LONG, "bytes"),
])  # fmt: skip
def test_TP_SCA_007_TP_BND_201_hostile_bodies_are_one_clear_error(body, snu, what):
    with pytest.raises(ScaipError, match=what) as caught:
        parse(body)
    assert caught.value.snu == snu


def test_TP_SCA_007_an_error_names_the_reference_when_it_can_be_read():
    with pytest.raises(ScaipError) as caught:
        parse(b"<mrq><ref>abc</ref><cid>1</cid></mrq>")
    assert caught.value.ref == "abc"


GOOD = FALL.to_xml()


@given(st.binary(max_size=300))
def test_TP_SCA_007_any_bytes_are_a_message_or_a_scaip_error(data):
    with contextlib.suppress(ScaipError):
        parse(data)


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, len(GOOD)),
)
def test_TP_SCA_007_a_damaged_message_is_a_message_or_a_scaip_error(changes, end):
    data = bytearray(GOOD)
    for at, byte in changes:
        data[at] = byte
    for body in (bytes(data), bytes(data[:end])):
        with contextlib.suppress(ScaipError):
            read = parse(body)
            assert isinstance(read, Reply) or re.fullmatch("[0-9]{1,16}", read.cid)


@given(st.binary(max_size=200).map(lambda tail: b"MESSAGE sip:a@b SIP/2.0\r\n" + tail) | st.binary(max_size=200))
def test_TP_SCA_007_any_bytes_are_a_sip_message_or_a_sip_error(data):
    with contextlib.suppress(sip.SipError):
        sip.parse(data)
    with contextlib.suppress(sip.SipError):
        sip.split_stream(bytearray(data))
