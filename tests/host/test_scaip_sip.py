"""SIP as MESSAGE needs it: messages against an independent reader, digest against the RFCs' examples, SRV in its order."""

import asyncio
import collections
import random

import pytest
import sipmessage
from hypothesis import given
from hypothesis import strategies as st
from srv_server import name_server, resolver_at
from tryggport.errors import TryggError
from tryggport.scaip import digest, sip
from tryggport.scaip.digest import Credentials
from tryggport.scaip.locate import Locator, Service, in_order, parse_uri
from tryggport.scaip.message import MEDIA_TYPE
from tryggport.scaip.sip import SipError

MESSAGE = sip.request("sip:arc@arc1", "UDP 10.0.0.5:5060", "sip:4700012345@10.0.0.5:5060", b"<mrq/>", MEDIA_TYPE)


@given(st.from_regex("[0-9]{1,16}", fullmatch=True), st.binary(max_size=300))
def test_TP_SCA_008_an_independent_reader_reads_what_we_write(cid, body):
    ours = sip.request("sip:arc@arc.example", "TCP 10.0.0.5:5060", f"sip:{cid}@10.0.0.5", body, MEDIA_TYPE)
    read = sipmessage.Message.parse(ours.to_bytes())
    assert (read.method, str(read.uri), read.body, read.content_length) == (
        "MESSAGE",
        "sip:arc@arc.example",
        body,
        len(body),
    )
    assert (read.from_address.uri.user, read.cseq.method, read.content_type.mime_type) == (cid, "MESSAGE", MEDIA_TYPE)
    assert read.via[0].parameters["branch"] == ours.branch
    assert read.headers.get("Contact") is None  # RFC 3428 section 4
    back = sip.parse(ours.to_bytes())
    assert (back.from_user, back.body, back.branch, back.media_type) == (cid, body, ours.branch, MEDIA_TYPE)
    answer = sipmessage.Message.parse(sip.respond(back, 200).to_bytes())
    assert (answer.code, answer.via, answer.call_id, answer.cseq) == (200, read.via, read.call_id, read.cseq)
    assert answer.to_address.parameters["tag"]


def test_TP_SCA_003_sip_as_devices_write_it_is_read():
    odd = sip.parse(
        b'\r\nMESSAGE sip:arc@arc_1 SIP/2.0\nv: SIP/2.0/UDP esp32:5060;branch=z9hG4bK1, SIP/2.0/TCP b\nf : "A, B" <sip:47%31@x>;tag=1\n'
        b"t: sip:arc@arc1\ni: 1\nCSEQ:  7  MESSAGE\nSubject: folded\n  line\nc: Application/SCAIP+XML;charset=utf-8\nl: 3\n\nabcdef"
    )
    assert (odd.branch, odd.body, odd.media_type) == ("z9hG4bK1", b"abc", MEDIA_TYPE)
    assert (odd.get("subject"), odd.from_user) == ("folded line", "47%31")


@pytest.mark.parametrize("data", [
    b"", b"junk", b"MESSAGE sip:a SIP/2.0\r\n\r\n", b"SIP/2.0 99 x\r\n\r\n", MESSAGE.to_bytes()[:-1],
    MESSAGE.to_bytes().replace(b"CSeq: 1 MESSAGE", b"CSeq: 1 INVITE"), MESSAGE.to_bytes().replace(b"CSeq: 1", b"CSeq: x"),
    MESSAGE.to_bytes().replace(b"Via", b"V a"), MESSAGE.to_bytes().replace(b"Length: 6", b"Length: -6"),
    MESSAGE.to_bytes().replace(b"Length: 6", b"Length: 999999"), MESSAGE.to_bytes().replace(b"To:", b"To: " + b"x" * 9000),
])  # fmt: skip
def test_TP_SCA_007_TP_BND_202_what_is_not_sip_is_refused(data):
    with pytest.raises(SipError, match=r"^Not a SIP message: .+\.$"):
        sip.parse(data)


def test_TP_SCA_007_nothing_that_a_person_types_can_smuggle_in_a_header():
    with pytest.raises(SipError, match="line end"):
        MESSAGE.with_header("to", "<sip:a@b>\r\nX: 1").to_bytes()
    with pytest.raises(TryggError, match="not a SIP address"):
        parse_uri("sip:a@b\r\nX: 1")


def test_TP_SCA_008_a_stream_is_cut_into_messages_wherever_it_breaks():
    data = b"\r\n\r\n".join([MESSAGE.to_bytes(), sip.respond(MESSAGE, 200, b"<mrs/>", MEDIA_TYPE).to_bytes()] * 3)
    for size in (1, 7, 100, len(data)):
        buffer, found = bytearray(), []
        for at in range(0, len(data), size):
            buffer += data[at : at + size]
            while message := sip.split_stream(buffer):
                found.append(sip.parse(message))
        assert [(m.method, m.code, m.body) for m in found] == [("MESSAGE", 0, b"<mrq/>"), ("", 200, b"<mrs/>")] * 3
    with pytest.raises(SipError, match="headers"):
        sip.split_stream(bytearray(b"a" * 9000))
    with pytest.raises(SipError, match="body"):
        sip.split_stream(bytearray(b"a\r\nContent-Length: 99999\r\n\r\n"))


def test_TP_SCA_009_digest_gives_the_answers_of_the_rfcs():
    # RFC 2617 section 3.5 and RFC 7616 section 3.9.1, with the client's nonce of each.
    who = Credentials("Mufasa", "Circle Of Life")
    md5 = {"username": "Mufasa", "realm": "testrealm@host.com", "nonce": "dcd98b7102dd2f0e8b11d0f600bfb0c093", "uri": "/dir/index.html",
           "qop": "auth", "nc": "00000001", "cnonce": "0a4f113b"}  # fmt: skip
    assert digest._response(md5, {}, who.password, "GET") == "6629fae49393a05397450978507c4ef1"
    sha = {"username": "Mufasa", "realm": "http-auth@example.org", "uri": "/dir/index.html", "qop": "auth", "nc": "00000001",
           "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"}  # fmt: skip
    expected = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    assert digest._response(sha, {"algorithm": "SHA-256"}, "Circle of Life", "GET") == expected


def test_TP_SCA_009_the_strongest_challenge_is_answered_and_checked():
    who = Credentials('ar"c', "secret, really")
    offered = [
        'Digest realm="a, b", nonce="n1", qop="auth,auth-int"',
        'Digest realm="a, b", nonce="n1", algorithm=SHA-256, qop="auth, auth-int", opaque="o"',
        'Digest realm="a, b", nonce="n1", algorithm=SHA-512-256, qop="auth"',
        'Basic realm="x"',
    ]
    answered = digest.answer(offered, who, "MESSAGE", "sip:arc@arc")
    read = digest.parse(answered)
    assert (read["algorithm"], read["username"], read["opaque"], read["qop"]) == ("SHA-256", 'ar"c', "o", "auth")
    assert digest.matches(answered, who, "MESSAGE", "a, b", "n1")
    for wrong in (Credentials('ar"c', "other"), Credentials("b", "secret, really")):
        assert not digest.matches(answered, wrong, "MESSAGE", "a, b", "n1")
    assert not digest.matches(answered, who, "MESSAGE", "a, b", "n2")
    assert not digest.matches(answered, who, "INVITE", "a, b", "n1")
    only_old = digest.answer(['Digest realm="r", nonce="n"'], who, "MESSAGE", "sip:arc@arc")  # RFC 2069 has no qop
    assert "qop" not in only_old
    assert digest.matches(only_old, who, "MESSAGE", "r", "n")
    for nothing in (
        [],
        ["Basic x"],
        ['Digest realm="r"'],
        ['Digest realm="r", nonce="n", qop="auth-int"'],
        ["Digest"],
        ["Digest ,=,"],
    ):
        assert digest.answer(nothing, who, "MESSAGE", "sip:a@b") is None
    assert not digest.matches("Digest garbage", who, "MESSAGE", "r", "n")


def test_TP_SCA_010_services_go_by_priority_and_within_one_by_weighted_lot():
    services = [
        Service(20, 0, 1, "last"),
        Service(10, 75, 1, "often"),
        Service(10, 25, 1, "seldom"),
        Service(10, 0, 1, "never"),
    ]
    lots = random.Random(7)
    firsts = collections.Counter(in_order(services, lambda n: lots.randint(0, n))[0].host for _ in range(4000))
    assert firsts["often"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert firsts["seldom"] / 4000 == pytest.approx(0.25, abs=0.03)
    assert {s.host for s in in_order(services, lambda n: 0)} == {s.host for s in services}
    assert all(in_order(services, lambda n: lots.randint(0, n))[3].host == "last" for _ in range(100))
    assert in_order([], lambda n: 0) == []


def test_TP_SCA_010_srv_records_lead_to_the_receiver_and_the_last_good_ones_are_kept():
    records = {
        "_sips._tcp.arc.example": ["20 0 5063 b.arc.example.", "10 0 5061 a.arc.example."],
        "_sip._udp.arc.example": ["0 0 5070 u.arc.example."],
    }

    async def ask(locator, *uris):
        return [[(t.transport, t.host, t.port, t.name) for t in await locator.targets(parse_uri(uri))] for uri in uris]

    async def all_of_it(port):
        locator = Locator(lambda n: 0, resolver_at(port))
        secure = [("TLS", "a.arc.example", 5061, "arc.example"), ("TLS", "b.arc.example", 5063, "arc.example")]
        first = await ask(locator, "sips:a@arc.example", "sip:a@arc.example", "sip:a@arc.example;transport=tcp",
                          "sip:a@arc.example:5080", "sip:a@10.0.0.5", "sips:[::1]", "sip:a@other.example")  # fmt: skip
        assert first == [
            secure, [("UDP", "u.arc.example", 5070, "arc.example")], [("TCP", "arc.example", 5060, "arc.example")],
            [("UDP", "arc.example", 5080, "arc.example")], [("UDP", "10.0.0.5", 5060, "10.0.0.5")],
            [("TLS", "::1", 5061, "::1")], [("UDP", "other.example", 5060, "other.example")],
        ]  # fmt: skip
        records["_sips._tcp.arc.example"] = None
        assert await ask(locator, "sips:a@arc.example") == [secure]

    with name_server(records) as port:
        asyncio.run(all_of_it(port))


@pytest.mark.parametrize(
    "text", ["", "arc.example", "http:a@b", "sip:a@b:0", "sip:a@b:99999", "sip:a b@c", "sip:a@b;transport=sctp", "sip:"]
)
def test_a_bad_address_is_told_in_a_sentence(text):
    with pytest.raises(TryggError):
        parse_uri(text)


def test_addresses_are_read():
    assert parse_uri("sips:arc@arc.example").secure
    assert parse_uri("sip:arc@arc.example;transport=tls").secure
    assert parse_uri("sip:arc@arc_1:5061;transport=TCP").transport == "TCP"
