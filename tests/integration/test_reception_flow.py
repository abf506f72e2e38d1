"""Gateway, broker and reception over real TLS: what is stored, what is receipted, what is refused."""

import ssl

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from reception_site import any_site, site  # noqa: F401
from tryggport.reception import open_database, views
from tryggport.reception.tenants import centre
from tryggport.sim.gateway import Gateway
from tryggport.wire import cbor, kinds, topics
from tryggport.wire.envelope import MAX_ENVELOPE
from tryggport.wire.receipt import digest


def test_TP_WIR_011_committed_then_receipted_then_acknowledged(any_site):  # noqa: F811
    seen_at_receipt = []
    gateway = any_site.gateway()
    event = gateway.event(kinds.FALL, data={kinds.DATA_EVIDENCE: [-980, 12, 1004]})
    with any_site.reception() as reception, any_site.connected(gateway):
        inner = reception._on_step

        def on_step(name, detail):
            if name == "receipt.begin":
                seen_at_receipt.extend(any_site.query("SELECT encoded FROM events"))
            inner(name, detail)

        reception._on_step = on_step
        gateway.send(event)
        receipt = gateway.receipt()
        any_site.wait_step("puback")
    assert seen_at_receipt == [(event.to_bytes(),)]  # durable before the receipt was even signed
    assert any_site.names() == [
        "received", "verified", "commit.begin", "commit.begun", "commit.inserted", "commit.end", "receipt.begin",
        "receipt.end", "puback",
    ]  # fmt: skip
    assert (receipt.gateway, receipt.epoch, receipt.outcome) == ("kitchen-7", gateway.epoch, kinds.OUTCOME_STORED)
    assert receipt.ranges == ((event.seq, event.seq, digest([event.sha256])),)
    assert gateway.bad_receipts == 0


def test_TP_WIR_014_a_replay_stores_nothing_and_is_receipted_again(any_site):  # noqa: F811
    gateway = any_site.gateway()
    sealed = gateway.seal(gateway.event())
    with any_site.reception(), any_site.connected(gateway):
        gateway.publish(sealed)
        assert gateway.receipt().outcome == kinds.OUTCOME_STORED
        before = {table: any_site.count(table) for table in ("events", "cases", "audit", "conflicts", "unreadable")}
        gateway.publish(sealed)
        receipt = gateway.receipt()
    assert receipt.outcome == kinds.OUTCOME_DUPLICATE
    assert {table: any_site.count(table) for table in before} == before
    assert before["events"] == before["cases"] == 1


def test_TP_WIR_014_other_bytes_under_the_same_identity_are_kept_beside_the_first(site):  # noqa: F811
    gateway = site.gateway()
    first = gateway.event(kinds.MAINS, severity=2)
    gateway.next_seq = 0
    second = gateway.event(kinds.FALL)
    with site.reception(), site.connected(gateway):
        gateway.send(first, leaf=topics.EVENT)
        assert gateway.receipt().outcome == kinds.OUTCOME_STORED
        for _ in range(2):
            gateway.send(second)
            receipt = gateway.receipt()
            assert receipt.outcome == kinds.OUTCOME_CONFLICT
            assert receipt.ranges[0].digest == digest([second.sha256])
    assert site.query("SELECT encoded FROM events") == [(first.to_bytes(),)]
    assert site.query("SELECT encoded FROM conflicts") == [(second.to_bytes(),)]
    (case,) = views.list_cases(centre(open_database(site.url)))  # a fall that came under a used number is still a fall
    assert case["history"][0]["what"].startswith("fall, other bytes")


def forged(gateway, other):
    sealed = bytearray(gateway.seal(gateway.event()))
    sealed[-1] ^= 1
    return bytes(sealed), topics.ALARM


def copied_to_another_topic(gateway, other):
    return gateway.seal(gateway.event(), leaf=topics.ALARM), topics.EVENT


def signed_by_another_gateway(gateway, other):
    return other.key.seal(cbor.encode([]), topics.topic(gateway.id, topics.ALARM)), topics.ALARM


def taken_from_another_gateway(gateway, other):
    return other.seal(other.event()), topics.ALARM


def under_our_kid_by_another_key(gateway, other):
    theirs = other.key.seal(b"\x80", topics.topic(gateway.id, topics.ALARM))
    return theirs[:8] + gateway.key.kid + theirs[16:], topics.ALARM


def over_the_limit(gateway, other):
    return gateway.seal(gateway.event()) + bytes(MAX_ENVELOPE), topics.ALARM


def not_an_envelope(gateway, other):
    return b"fall!", topics.ALARM


def another_gateways_status(gateway, other):
    payload = other.status().to_bytes()
    return gateway.key.seal(payload, topics.topic(gateway.id, topics.STATUS)), topics.STATUS


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (forged, "bad_signature"),
        (copied_to_another_topic, "bad_signature"),
        (under_our_kid_by_another_key, "bad_signature"),
        (signed_by_another_gateway, "unknown_key"),
        (taken_from_another_gateway, "unknown_key"),
        (over_the_limit, "over_limit"),
        (not_an_envelope, "malformed"),
        (another_gateways_status, "malformed"),
    ],
)
def test_TP_WIR_004_what_is_not_authentic_is_refused_counted_and_leaves_nothing(site, attack, reason):  # noqa: F811
    gateway, other = site.gateway(), site.gateway("garage-2")
    with site.reception(), site.connected(gateway):
        payload, leaf = attack(gateway, other)
        for _ in range(3):
            assert gateway.publish(payload, leaf) == "Success"
        site.wait_step("puback", 3)  # or the broker would send it again for ever
        assert site.wait_for(
            lambda: site.query("SELECT gateway, reason, count FROM refusals") == [(gateway.id, reason, 3)]
        )
        for table in ("events", "conflicts", "unreadable", "cases", "audit", "statuses"):
            assert site.count(table) == 0, table
        good = gateway.event()
        gateway.send(good)
        assert gateway.receipt().ranges[0].first == good.seq
    assert gateway.receipts.empty()
    assert "commit.begin" not in site.names()[: site.names().index("verified")]


def test_TP_WIR_004_gateways_that_nobody_registered_are_counted_together(site):  # noqa: F811
    gateways = [site.gateway(f"ghost-{n}") for n in range(3)]
    for gateway in gateways:
        (site.pki / "gateways" / gateway.id / "sign.pem").unlink()
    with site.reception():
        for gateway in gateways:
            with site.connected(gateway):
                gateway.send(gateway.event())
        assert site.wait_for(lambda: site.query("SELECT * FROM refusals"))
        site.wait_step("refused", 3)
    assert site.query("SELECT gateway, reason, count FROM refusals") == [("", "unknown_gateway", 3)]
    assert site.count("events") == 0


def test_a_gateway_that_is_provisioned_or_removed_while_the_reception_runs(site):  # noqa: F811
    with site.reception():
        gateway = site.gateway()
        with site.connected(gateway):
            gateway.send(gateway.event())
            assert gateway.receipt().outcome == kinds.OUTCOME_STORED
            (site.pki / "gateways" / gateway.id / "sign.pem").unlink()

            def is_refused():
                gateway.send(gateway.event())
                return "refused" in site.names()

            assert site.wait_for(is_refused)
            assert site.steps[site.names().index("refused")][1]["reason"] == "unknown_gateway"


def test_TP_WIR_017_an_authentic_payload_that_cannot_be_read_is_kept_and_shown(site):  # noqa: F811
    gateway = site.gateway()
    junk = b"\x9f\xff not an array of events"
    sealed = gateway.key.seal(junk, topics.topic(gateway.id, topics.ALARM))
    with site.reception(), site.connected(gateway):
        for _ in range(3):
            gateway.publish(sealed)
        site.wait_step("puback", 3)
        gateway.send(gateway.event(kinds.BOOT, severity=0), leaf=topics.EVENT)
        assert gateway.receipt().outcome == kinds.OUTCOME_STORED  # and none came for what names no seq
    assert site.query("SELECT encoded, copies FROM unreadable") == [(junk, 3)]
    database = open_database(site.url)
    assert views.overview(centre(database))["unreadable"][0]["copies"] == 3
    (case,) = views.list_cases(centre(database))
    assert [row["what"] for row in case["history"]] == ["unreadable alarm"]


def test_TP_WIR_015_an_event_of_which_only_the_number_can_be_read_is_kept_and_receipted_raw(site):  # noqa: F811
    gateway = site.gateway()
    good = gateway.event()
    odd = {1: gateway.id, 2: gateway.epoch, 3: 1, 99: "no kind, no state"}
    payload = b"\x82" + good.to_bytes() + cbor.encode(odd)
    with site.reception(), site.connected(gateway):
        gateway.publish(gateway.key.seal(payload, topics.topic(gateway.id, topics.ALARM)))
        outcomes = {(r.ranges[0].first, r.outcome) for r in (gateway.receipt(), gateway.receipt())}
    assert outcomes == {(0, kinds.OUTCOME_STORED), (1, kinds.OUTCOME_RAW)}
    shown = {event["seq"]: event for event in views.list_events(centre(open_database(site.url)))}
    assert shown[1]["kind"] == "unreadable"
    assert shown[1]["encoded"] == cbor.encode(odd).hex()


def test_TP_WIR_010_what_a_later_version_sends_is_stored_shown_and_receipted(site):  # noqa: F811
    gateway = site.gateway()
    event = gateway.event(kind=200, data={4711: "new"}, later={16: ["later"]})
    with site.reception(), site.connected(gateway):
        gateway.send(event)
        assert gateway.receipt().outcome == kinds.OUTCOME_STORED
    assert site.query("SELECT encoded FROM events") == [(event.to_bytes(),)]
    (shown,) = views.list_events(centre(open_database(site.url)))
    assert (shown["kind"], shown["data"], shown["case"]) == ("kind 200", {"4711": "new"}, 1)


def test_TP_WIR_012_a_receipt_joins_neighbours_and_never_covers_a_gap(site):  # noqa: F811
    gateway = site.gateway()
    events = [gateway.event(kinds.MAINS, severity=2) for _ in range(6)]
    hashes = [event.sha256 for event in events]
    with site.reception(), site.connected(gateway):
        gateway.send(*events[0:2], *events[4:6], leaf=topics.EVENT)
        assert gateway.receipt().ranges == ((0, 1, digest(hashes[0:2])), (4, 5, digest(hashes[4:6])))
        gateway.send(*events[2:5], leaf=topics.EVENT)
        receipts = {r.outcome: r.ranges for r in (gateway.receipt(), gateway.receipt())}
    assert receipts == {
        kinds.OUTCOME_STORED: ((2, 3, digest(hashes[2:4])),), kinds.OUTCOME_DUPLICATE: ((4, 4, digest(hashes[4:5])),)
    }  # fmt: skip


def test_TP_WIR_002_the_broker_lets_no_gateway_onto_the_topics_of_another(site):  # noqa: F811
    gateway, other = site.gateway(), site.gateway("garage-2")
    with site.reception(), site.connected(gateway), site.connected(other):
        for leaf in (topics.ALARM, topics.EVENT, topics.STATUS, topics.RECEIPT):
            assert gateway.publish(other.seal(other.event(), leaf=leaf), leaf, other.id) == "Not authorized", leaf
        assert gateway.publish(b"", topics.RECEIPT) == "Not authorized"
        good = gateway.event()
        gateway.send(good)
        assert gateway.receipt().outcome == kinds.OUTCOME_STORED
        assert site.names().count("received") == 1
        assert other.receipts.empty()
        assert other.bad_receipts == 0


def test_TP_WIR_001_a_gateway_cannot_take_the_name_of_another(site):  # noqa: F811
    """Neither its client id, which would throw the other out of its session, nor its receipts."""
    gateway, other = site.gateway(), site.gateway("garage-2")
    with site.reception(), site.connected(gateway):
        thief = Gateway(site.pki, "thief-3")
        thief.id = gateway.id  # its certificate still says thief-3
        with site.connected(thief):
            gateway.send(gateway.event())
            assert gateway.receipt().outcome == kinds.OUTCOME_STORED
            assert thief.receipts.empty()
            assert thief.publish(thief.seal(thief.event())) == "Not authorized"
    assert other.receipts.empty()


def test_TP_WIR_001_nobody_enters_without_a_certificate_of_the_device_CA(site):  # noqa: F811
    def enter(context):
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="kitchen-7", protocol=paho.MQTTv5)
        client.tls_set_context(context)
        answers = []
        client.on_connect = lambda *args: answers.append("connack")
        client.on_disconnect = lambda *args: answers.append("closed")
        try:
            client.connect(site.host, site.port)
        except OSError:
            return "closed"
        client.loop_start()
        site.wait_for(lambda: answers)
        client.disconnect()
        client.loop_stop()
        return answers[0]

    bare = ssl.create_default_context(cafile=site.pki / "root.pem")
    assert enter(bare) == "closed"
    signer = ssl.create_default_context(cafile=site.pki / "root.pem")
    broker = site.pki / "broker.pem", site.pki / "broker.key"  # of this PKI, but not for clients
    signer.load_cert_chain(*broker)
    assert enter(signer) == "closed"
    right = ssl.create_default_context(cafile=site.pki / "root.pem")
    right.load_cert_chain(site.pki / "reception.pem", site.pki / "reception.key")
    assert enter(right) == "connack"
