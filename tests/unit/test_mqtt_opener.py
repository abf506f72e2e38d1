"""The resolver of gateway.mqtt: what it asks, and what it takes for an answer."""

from gateway.mqtt.opener import answers, question

HEAPSIZE = "192k"
QUERY = question("mqtt.example", 0x1234)
NAME = b"\4mqtt\7example\0"


def reply(*records, flags=b"\x81\x80", number=b"\x12\x34", name=NAME):
    head = number + flags + b"\0\1" + len(records).to_bytes(2, "big") + b"\0\0\0\0"
    return head + name + b"\0\1\0\1" + b"".join(records)


def record(data, kind=b"\0\1", owner=b"\xc0\x0c"):
    return owner + kind + b"\0\1\0\0\0\x3c" + len(data).to_bytes(2, "big") + data


def test_TP_MQT_050_question_is_one_a_record():
    assert QUERY == b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + NAME + b"\0\1\0\1"


def test_TP_MQT_050_answer_may_hold_other_records_and_uncompressed_names():
    alias = record(b"\3www\xc0\x11", b"\0\5")
    long_owner = record(bytes((10, 0, 0, 2)), owner=NAME)
    assert answers(reply(alias, record(bytes((10, 0, 0, 1))), long_owner), QUERY) == ["10.0.0.1", "10.0.0.2"]


def test_TP_MQT_050_foreign_failed_and_broken_answers_give_nothing():
    address = record(bytes((10, 0, 0, 1)))
    for wrong in (
        reply(address, number=b"\x12\x35"),
        reply(address, flags=b"\x01\x80"),
        reply(address, flags=b"\x81\x83"),
        reply(address, name=b"\4evil\7example\0"),
        reply(),
        reply(record(b"\1\2\3")),
        b"",
        QUERY,
    ):
        assert answers(wrong, QUERY) == []
    whole = reply(address)
    for cut in range(len(whole)):
        assert answers(whole[:cut], QUERY) == []
