"""The published vectors of the wire, on the firmware's code: the same bytes, and the same ones refused (protocols/vectors/)."""

import json
import os

from gateway import cbor
from test_uplink import Gateway


def vectors(name):
    with open(os.getenv("TRYGG_ROOT") + "/protocols/vectors/" + name + ".json") as f:
        return [(v["name"], bytes.fromhex(v["hex"]), v.get("value")) for v in json.load(f)["vectors"]]


def test_TP_WIR_006_TP_CMD_003_good_events_status_and_commands_have_one_encoding_and_the_firmware_writes_it():
    count = 0
    for name, third in (("events", "seq"), ("status", "boot"), ("commands", "counter")):
        for title, encoded, value in vectors(name):
            if value:
                fields = cbor.decode(encoded)
                assert cbor.encode(fields) == encoded, title
                assert fields[1] == value["gateway"] and fields[3] == value[third], title
                count += 1
    assert count > 20


def test_TP_WIR_006_events_are_cut_out_of_their_array_byte_for_byte():
    for title, encoded, _ in vectors("payloads"):
        try:
            items = cbor.decode(encoded)
        except cbor.CBORError:
            continue
        if type(items) is list and items:
            at = len(cbor.head(4, len(items)))
            for item in items:
                end = cbor.item_end(encoded, at)
                assert encoded[at:end] == cbor.encode(item), title
                at = end


def test_TP_WIR_013_bad_receipts_are_refused_and_settle_nothing():
    good = bad = 0
    for title, encoded, value in vectors("receipts"):
        if value:
            assert cbor.encode(cbor.decode(encoded)) == encoded, title
            good += 1
            continue
        gateway = Gateway()
        gateway.uplink._gateway = "kitchen-7"
        seqs = [gateway.alarm() for _ in range(10)]
        try:
            gateway.uplink._apply(cbor.decode(encoded))
        except (ValueError, KeyError, TypeError):
            bad += 1
        else:
            raise AssertionError(title)
        assert gateway.pending() == seqs, title
    assert good > 8 and bad > 20
