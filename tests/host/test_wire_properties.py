"""Round trips and hostile bytes."""

import contextlib
import hashlib

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from tryggport.wire import cbor, fields, topics
from tryggport.wire.envelope import MAX_ENVELOPE, Envelope, EnvelopeError, SigningKey
from tryggport.wire.event import MAX_EVENT, Event, Unreadable, decode_events, encode_events
from tryggport.wire.fields import PayloadError
from tryggport.wire.receipt import MAX_IN_RANGE, MAX_RANGES, Receipt, digest, receipts
from tryggport.wire.status import Status

KEY = SigningKey(ec.derive_private_key(0xC0FFEE, ec.SECP256R1()))
TOPIC = "trygg/1/kitchen-7/alarm"

gateway_ids = st.from_regex(r"[a-z0-9-]{4,24}", fullmatch=True)
epochs = st.binary(min_size=8, max_size=8)
seqs = st.integers(0, fields.SEQ_MAX)
uints = st.integers(0, fields.UINT_MAX)
times = st.integers(fields.UTC_MS_MIN, fields.UTC_MS_MAX)
ints = st.integers(-(2**64), 2**64 - 1)
short_texts = st.text(max_size=16)
data_values = st.one_of(ints, short_texts, st.binary(max_size=64), st.booleans(), st.lists(ints, max_size=4))
plain_values = st.recursive(
    st.one_of(ints, st.text(max_size=8), st.binary(max_size=8), st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 2**64 - 1), inner, max_size=3),
    max_leaves=8,
)
events = st.builds(
    Event,
    gateway=gateway_ids,
    epoch=epochs,
    seq=seqs,
    boot=uints,
    uptime_ms=uints,
    utc_ms=st.none() | times,
    quality=st.integers(0, 2),
    kind=st.integers(1, 255),
    state=st.integers(0, 2),
    test=st.booleans(),
    ref=st.none() | seqs,
    severity=st.integers(0, 3),
    sensor=st.none() | st.text("abcæøå", min_size=1, max_size=8),
    location=st.none() | st.integers(0, 999),
    data=st.dictionaries(uints, data_values, max_size=4),
    later=st.dictionaries(st.integers(16, 2**32), plain_values, max_size=2),
)


@given(events)
def test_TP_WIR_006_TP_WIR_010_an_event_survives_the_wire(event):
    read = Event.from_bytes(event.to_bytes())
    assert read == event
    assert read.to_bytes() == event.to_bytes()


@given(st.lists(events, min_size=1, max_size=4))
def test_TP_WIR_009_events_of_one_gateway_and_epoch_are_read_from_one_payload(found):
    first = found[0]
    mine = [Event(**({f: getattr(e, f) for f in Event.__dataclass_fields__} | {"gateway": first.gateway, "epoch": first.epoch}))
            for e in found]  # fmt: skip
    read = decode_events(encode_events(mine), first.gateway)
    assert read == mine
    assert [e.sha256 for e in read] == [hashlib.sha256(e.to_bytes()).digest() for e in mine]


@given(st.binary(max_size=200), gateway_ids)
def test_TP_WIR_017_no_payload_is_lost_whatever_its_bytes(payload, gateway):
    found = decode_events(payload, gateway)
    assert found
    kept = b"".join(item.encoded for item in found)
    if any(isinstance(item, Unreadable) for item in found):
        assert kept == payload or payload.endswith(kept)


@given(plain_values)
def test_deterministic_cbor_survives(value):
    assert cbor.decode(cbor.encode(value)) == value


keys = st.one_of(ints, st.text(max_size=3), st.binary(max_size=3), st.booleans())
unsorted_values = st.recursive(
    st.one_of(ints, st.text(max_size=8), st.floats(allow_nan=False), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


@given(unsorted_values)
def test_keys_in_another_order_and_long_floats_are_refused_and_nothing_else(value):
    """cbor2 writes maps as they are and every float in 9 bytes, unless it is asked for the deterministic form."""
    data = cbor2.dumps(value)
    if data == cbor.encode(value):
        assert cbor.decode(data) == value
        assert cbor.decode_array(b"\x81" + data) == [(value, data)]
    else:
        with pytest.raises(cbor.CborError):
            cbor.decode(data)


@given(st.binary(max_size=64))
def test_what_decodes_was_the_only_encoding_of_its_value(data):
    try:
        value = cbor.decode(data)
    except cbor.CborError:
        return
    assert cbor.encode(value) == data


@given(st.binary(max_size=1200), gateway_ids, st.sampled_from(topics.UP))
def test_TP_WIR_003_TP_BND_002_an_envelope_opens_on_its_own_topic(payload, gateway, leaf):
    sealed = KEY.seal(payload, topics.topic(gateway, leaf))
    assert len(sealed) <= MAX_ENVELOPE
    envelope = Envelope.from_bytes(sealed)
    envelope.verify(KEY.private.public_key(), topics.topic(gateway, leaf))
    assert (envelope.kid, envelope.payload) == (KEY.kid, payload)
    assert topics.split(topics.topic(gateway, leaf)) == (gateway, leaf)


@settings(max_examples=300)
@given(st.integers(0, 125), st.integers(1, 255))
def test_TP_WIR_004_any_changed_byte_is_noticed(at, change):
    sealed = bytearray(KEY.seal(bytes(range(44)), TOPIC))
    sealed[at] ^= change
    try:
        envelope = Envelope.from_bytes(bytes(sealed))
        assert (at in range(8, 16) and envelope.kid != KEY.kid) or refused(envelope)
    except EnvelopeError:
        pass


def refused(envelope):
    try:
        envelope.verify(KEY.private.public_key(), TOPIC)
    except EnvelopeError:
        return True
    return False


@given(st.binary(max_size=1400))
def test_TP_WIR_004_hostile_bytes_are_refused_with_a_reason(data):
    for read in (Envelope.from_bytes, Receipt.from_bytes, Status.from_bytes):
        with contextlib.suppress(EnvelopeError, PayloadError):  # anything else fails the test
            read(data)


@given(
    st.dictionaries(st.integers(0, 300), st.binary(min_size=32, max_size=32), min_size=1, max_size=200), st.booleans()
)
def test_TP_WIR_012_receipts_cover_exactly_the_events_and_fit_an_envelope(hashes, joined):
    made = receipts("kitchen-7", bytes(8), 0, hashes, fields.UTC_MS_MIN, joined=joined)
    covered = []
    for receipt in made:
        assert len(receipt.ranges) <= MAX_RANGES
        assert Receipt.from_bytes(receipt.to_bytes()) == receipt
        KEY.seal(receipt.to_bytes(), topics.topic("kitchen-7", topics.RECEIPT))  # raises when over the limit
        for first, last, check in receipt.ranges:
            span = range(first, last + 1)
            assert joined or len(span) == 1
            assert len(span) <= MAX_IN_RANGE
            assert digest(hashes[seq] for seq in span) == check
            covered += span
    assert sorted(covered) == sorted(hashes)


def test_TP_WIR_012_TP_BND_041_a_range_ends_where_a_gateway_ceases_to_check_it():
    hashes = {seq: bytes([seq]) * 32 for seq in range(7, 72)}
    (receipt,) = receipts("kitchen-7", bytes(8), 0, hashes, fields.UTC_MS_MIN)
    assert [(first, last) for first, last, _ in receipt.ranges] == [(7, 70), (71, 71)]


@given(
    st.builds(
        Status,
        gateway=gateway_ids,
        epoch=epochs,
        boot=uints,
        connect=uints,
        online=st.booleans(),
        next_seq=seqs,
        alarms=uints,
        events=uints,
        uptime_ms=uints,
        utc_ms=st.none() | times,
        quality=st.integers(0, 2),
        path=uints,
        firmware=st.text("0123456789.-ab", min_size=1, max_size=32),
    )
)
def test_TP_WIR_018_a_status_survives_the_wire(status):
    assert Status.from_bytes(status.to_bytes()) == status


def test_TP_WIR_007_TP_BND_003_an_event_over_1100_bytes_cannot_be_made():
    data = {key: bytes(64) for key in range(100, 117)}
    values = {"gateway": "kitchen-7", "epoch": bytes(8), "seq": 0, "boot": 1, "uptime_ms": 0, "kind": 1}
    assert MAX_EVENT - 100 < len(Event(**values, data=dict(list(data.items())[:-2])).to_bytes()) <= MAX_EVENT
    with pytest.raises(PayloadError, match="1100"):
        Event(**values, data=data).to_bytes()
