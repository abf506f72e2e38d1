import gc
import json
import math
import os

from gateway import cbor, cbor_rare

ROOT = os.getenv("TRYGG_ROOT")
DOUBLES = 1.1 != 1.1000001  # not on ports with single precision


def examples():
    with open(ROOT + "/protocols/vectors/cbor-appendix-a.json") as f:
        return json.load(f)["examples"]


def value_of(described):
    if isinstance(described, list):
        return [value_of(item) for item in described]
    if not isinstance(described, dict):
        return described
    ((kind, content),) = described.items()
    if kind == "float":
        return float(content)
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "tag":
        return cbor_rare.Tag(content[0], value_of(content[1]))
    if kind == "simple":
        return cbor_rare.Simple(content)
    return {key: value_of(value) for key, value in content}


def same(a, b):
    return (a == b and type(a) is type(b)) or (a != a and b != b)


def refused(data, strict=True):
    try:
        (cbor if strict else cbor_rare).decode(data)
    except cbor.CBORError:
        return True
    return False


def not_encodable(value):
    try:
        cbor.encode(value)
    except cbor.CBORError:
        return True
    return False


def test_TP_CBR_004_lenient_decoding_reads_appendix_a():
    count = 0
    for example in examples():
        if example["hex"].find("fb") == 0 and not DOUBLES:
            continue
        assert same(cbor_rare.decode(bytes.fromhex(example["hex"])), value_of(example["value"])), example
        count += 1
    assert count == 81 or not DOUBLES


def test_TP_CBR_002_strict_decoding_takes_the_deterministic_examples_only():
    taken = 0
    for example in examples():
        data = bytes.fromhex(example["hex"])
        if example["strict"]:
            value = cbor.decode(data)
            assert cbor.encode(value) == data, example
            taken += 1
        else:
            assert refused(data), example
    assert taken > 50


def test_TP_CBR_002_strict_decoding_refuses_each_other_form():
    for text in (
        "1817 1900ff 1a0000ffff 1b00000000ffffffff 3817 580161 780161 980100 b8010000 d81700",  # longer than need be
        "58 59 5a 5b 78 98 b8 d8 f8 18 19 1a 1b a1 a101 81 8201 c1 4261 6261",  # ends early
        "9f ff 9fff 5f4100ff 7f6100ff bfff 1c 1d 1e 1f 3f 5c df fc fd fe f818 f820 e0 f7",  # reserved, indefinite, simple
        "a202000100 a201000100 a20100190001 a2617a006161 a18000 a1f500 a1f93c0000",  # order, twice, other keys
        "0000 410000 f600",  # trailing bytes
        "fa3f800000 fa33800000 fa7f800000 fb3ff0000000000000 fb36a0000000000000 fb47efffffe0000000",
        "f97e01 f9fe00 fa7fc00001 fb7ff8000000000001",  # other NaNs
    ):
        for item in text.split(" "):
            assert refused(bytes.fromhex(item)), item


def test_TP_CBR_002_map_keys_rise_bytewise():
    data = cbor.encode({"b": 1, "aa": 2, "a": 3, 300: 4, 24: 5, 10: 6, -1: 7})
    assert data == bytes.fromhex("a7 0a06 181805 19012c04 2007 616103 616201 62616102".replace(" ", ""))
    assert cbor.decode(data)["aa"] == 2
    for i in range(1, len(data) - 1):
        assert refused(data[:i])
    assert refused(bytes.fromhex("a201000100"), strict=False)


def test_TP_CBR_002_invalid_utf8_is_refused():
    bad = "80 bf c0af c180 c3 c328 e08080 e09fbf eda080 edbfbf e28228 e282 f0808080 f08fbfbf f4908080 f5808080 f8888080 fe ff"
    for text in bad.split(" "):
        data = bytes.fromhex(text)
        assert refused(cbor.head(3, len(data)) + data), text
        assert refused(cbor.head(3, len(data)) + data, strict=False), text
        assert refused(b"\x7f" + cbor.head(3, len(data)) + data + b"\xff", strict=False), text
    for point in (0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF):
        assert cbor.decode(cbor.encode(chr(point))) == chr(point)
    assert not_encodable(chr(0xD800))


def test_TP_CBR_001_integers_and_lengths_are_shortest():
    for value, text in (
        (23, "17"),
        (24, "1818"),
        (255, "18ff"),
        (256, "190100"),
        (65535, "19ffff"),
        (65536, "1a00010000"),
        (4294967295, "1affffffff"),
        (4294967296, "1b0000000100000000"),
        (-24, "37"),
        (-25, "3818"),
        (-257, "390100"),
        (-65537, "3a00010000"),
        (-4294967297, "3b0000000100000000"),
    ):
        assert cbor.encode(value).hex() == text
        assert cbor.decode(bytes.fromhex(text)) == value
    for size in (0, 23, 24, 255, 256, 65535, 65536):
        data = cbor.encode(bytes(size))
        assert len(data) == size + (1 if size < 24 else 2 if size < 256 else 3 if size < 65536 else 5)
        assert cbor.decode(data) == bytes(size)
    assert cbor.encode(bytearray(b"ab")) == cbor.encode(memoryview(b"ab")) == b"\x42ab"
    assert cbor.encode((1, (2,))) == cbor.encode([1, [2]])


def test_TP_CBR_001_floats_are_the_shortest_exact_ones():
    for value in (0.0, -0.0, 1.0, -1.5, 65504.0, 2.0**-14, 2.0**-24, 1023 * 2.0**-24, math.inf, -math.inf):
        assert len(cbor.encode(value)) == 3
        assert cbor.decode(cbor.encode(value)) == value
    for value in (65505.0, 65536.0, 2.0**-25, 2.0**-24 + 2.0**-30, 1 + 2.0**-11, 2.0**100, 2.0**-126, 2.0**-149):
        assert len(cbor.encode(value)) == 5
        assert cbor.decode(cbor.encode(value)) == value
    for value in (1.1, 1e300, 2.0**-150, 1 + 2.0**-24, 2.0**128, 5e-324) if DOUBLES else ():
        assert len(cbor.encode(value)) == 9
        assert cbor.decode(cbor.encode(value)) == value
    assert cbor.encode(math.nan) == cbor.encode(-math.nan) == b"\xf9\x7e\x00"


def test_TP_CBR_001_what_has_no_encoding_is_refused():
    for value in (1 << 64, -1 - (1 << 64), 1j, object(), {1.0: 2}, {(1,): 2}, {None: 1}, {True: 1}, set((1,)), len):
        assert not_encodable(value)


def test_TP_CBR_003_depth_is_bounded_both_ways():
    value = 1
    for _ in range(8):
        value = [value]
    assert cbor.decode(cbor.encode(value)) == value
    assert not_encodable([value])
    for opener in (b"\x81", b"\xa1\x01", b"\xc6"):
        assert not refused(opener * 8 + b"\x01")
        assert refused(opener * 9 + b"\x01")
        assert refused(opener * 60000 + b"\x01")
    assert refused(b"\x9f" * 60000, strict=False)


def test_TP_CBR_003_announced_sizes_allocate_nothing():
    for text in (
        "5bffffffffffffffff",
        "5affffffff",
        "7a7fffffff",
        "9bffffffffffffffff",
        "9affffffff",
        "bbffffffffffffffff",
        "ba7fffffff",
        "9a0000ffff",
        "bb0000000000ffffff",
        "5b0000000000010000",
    ):
        data = bytes.fromhex(text) + b"\x01" * 8
        for strict in (True, False):
            gc.collect()
            before = gc.mem_alloc()
            assert refused(data, strict), text
            assert gc.mem_alloc() - before < 4000, text
        try:
            cbor.item_end(data)
        except cbor.CBORError:
            continue
        raise AssertionError(text)


def rng(seed):
    """xorshift32, so a failing round can be run again."""
    x = seed
    while True:
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        yield x


def test_TP_CBR_003_random_bytes_give_a_value_or_a_cbor_error_in_bounded_memory():
    numbers = rng(8949)
    taken = 0
    for round_ in range(20000):
        size = next(numbers) % 40 + 1
        data = bytes(next(numbers) >> 11 & 0xFF for _ in range(size))
        if round_ % 200 == 0:
            gc.collect()
            before = gc.mem_alloc()
        for strict in (True, False):
            try:
                value = (cbor if strict else cbor_rare).decode(data)
            except cbor.CBORError:
                continue
            taken += 1
            if strict:
                assert cbor.encode(value) == data
                assert cbor.item_end(data) == size
        if round_ % 200 == 0:
            assert gc.mem_alloc() - before < 32768
    assert taken > 100


def test_TP_CBR_003_mutations_of_an_event_give_a_value_or_a_cbor_error():
    event = cbor.encode(
        ["gw-0001", b"\x01" * 8, 300, {1: 2, 3: [4, {5: "seks"}]}, None, True, 1.5, cbor_rare.Tag(9, 1)]
    )
    numbers = rng(4)
    for _ in range(5000):
        data = bytearray(event)
        for _ in range(next(numbers) % 3 + 1):
            data[next(numbers) % len(data)] = next(numbers) & 0xFF
        try:
            assert cbor.encode(cbor.decode(data)) == data
        except cbor.CBORError:
            pass


def test_item_end_splits_an_array_without_decoding():
    items = [
        cbor.encode(value) for value in (1, "to", [3, {4: [5]}], {6: b"x" * 300}, cbor_rare.Tag(7, [8]), 1.1, None)
    ]
    data = cbor.array(items)
    assert cbor.decode(data)[3] == {6: b"x" * 300}
    at = 1
    for item in items:
        end = cbor.item_end(data, at)
        assert data[at:end] == item
        at = end
    assert at == len(data) == cbor.item_end(data)
