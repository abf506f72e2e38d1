"""Partition tables: CSV in, ESP-IDF's binary format out and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tryggport import paths
from tryggport.devices.partitions import FLAG_ENCRYPTED, TABLE_BYTES, Partition, from_bytes, parse_csv, to_bytes
from tryggport.errors import TryggError

CSV = """
# Name, Type, SubType, Offset, Size, Flags
nvs,    data, nvs,     0x9000, 24K,
first,  app,  ota_1,   ,       1M,
secret, data, 0x40,    ,       4096, encrypted
"""


def test_a_csv_is_read_and_gaps_are_aligned() -> None:
    assert parse_csv(CSV) == [
        Partition("nvs", 1, 2, 0x9000, 0x6000),
        Partition("first", 0, 0x11, 0x10000, 0x100000),
        Partition("secret", 1, 0x40, 0x110000, 0x1000, FLAG_ENCRYPTED),
    ]


def test_the_bytes_are_those_of_esp_idf() -> None:
    """The first row and the MD5 row as gen_esp32part.py of ESP-IDF 5 writes them."""
    table = to_bytes([Partition("nvs", 1, 2, 0x9000, 0x6000)])
    assert len(table) == TABLE_BYTES == 0xC00
    assert table[:32].hex() == "aa50010200900000006000006e767300000000000000000000000000" + "00000000"
    assert table[32:48] == b"\xeb\xeb" + b"\xff" * 14
    assert table[64:] == b"\xff" * (0xC00 - 64)


def test_the_virtual_board_has_room_for_everything() -> None:
    rows = {row.label: row for row in parse_csv((paths.folder("boards") / "virtual" / "partitions.csv").read_text())}
    assert rows["journal"].size == 256 * 1024
    assert (rows["journal"].type, rows["journal"].subtype) == (1, 0x40)
    assert max(row.end for row in rows.values()) == 0x400000


@st.composite
def tables(draw: st.DrawFn) -> list[Partition]:
    labels = draw(
        st.lists(st.text("abcdefgh_0123456789", min_size=1, max_size=16), min_size=1, max_size=90, unique=True)
    )
    return [
        Partition(label, 1, draw(st.integers(0, 255)), 0x9000 + 0x1000 * n, 0x1000, draw(st.integers(0, 1)))
        for n, label in enumerate(labels)
    ]


@given(tables())
def test_what_is_written_is_read_back(rows: list[Partition]) -> None:
    assert from_bytes(to_bytes(rows)) == rows


@given(tables(), st.data())
def test_a_flipped_bit_is_noticed(rows: list[Partition], data: st.DataObject) -> None:
    table = bytearray(to_bytes(rows))
    table[data.draw(st.integers(0, 32 * len(rows) + 31))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(TryggError):
        from_bytes(bytes(table))


@pytest.mark.parametrize(
    "text",
    [
        "a, data, nvs, 0x9000, 0x6000\nb, data, fat, 0xA000, 0x1000",
        "a, data, nvs, 0x9000, 0x6000\na, data, fat, 0xF000, 0x1000",
        "a, app, factory, 0x9000, 0x6000",
        "a, data, nvs, 0x9000",
        "a, data, nvs, 0x9000, much",
        "a, drawer, nvs, 0x9000, 0x1000",
        "a, data, nvs, 0x9000, 0x1000, readable",
        "seventeen_letters, data, nvs, 0x9000, 0x1000",
        "a, data, nvs, 0x9000, 0",
    ],
)
def test_a_bad_table_is_refused(text: str) -> None:
    with pytest.raises(TryggError):
        parse_csv(text)


def test_blank_flash_holds_no_table() -> None:
    with pytest.raises(TryggError):
        from_bytes(b"\xff" * TABLE_BYTES)
