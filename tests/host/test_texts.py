"""Translations: complete, with the same fields, and nothing left over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from tryggport import paths
from tryggport.errors import TryggError
from tryggport.falls import activities, evaluate, sensors
from tryggport.texts import Words, languages, translator

FIELD = re.compile(r"\{(\w+[!:\w]*)\}")
PLAIN = {name for name in sensors.SENSORS if re.fullmatch(r"[\d.±]+ (Hz|g)", name)}


def said() -> Iterator[str]:
    """Every text that the programs look up."""
    for path in (paths.folder("host_tools") / "tryggport").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name("_"), args=[ast.Constant(text)]):
                    yield text
    yield from evaluate.REFUSALS
    yield from activities.SISFALL.values()
    yield from activities.UMAFALL.values()
    yield from set(sensors.SENSORS) - PLAIN


def test_every_text_has_a_translation_with_the_same_fields() -> None:
    texts = set(said())
    assert len(texts) > 80
    for language in languages():
        if language != "en":
            messages = translator(language).messages
            assert {text for text in texts if text not in messages} == set()
            assert set(messages) - texts == {""}
            for text in texts:
                assert sorted(FIELD.findall(text)) == sorted(FIELD.findall(messages[text])), text


def test_numbers_are_written_as_the_language_does() -> None:
    assert translator("nb").number(98.94, 1) == "98,9"
    assert translator("en").number(98.94, 1) == "98.9"


def test_what_is_not_translated_stays() -> None:
    assert Words("nb", {"yes": "ja", "no": ""})("no") == "no"
    assert translator("nb")("No such text.") == "No such text."


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(TryggError, match="There is no language 'sv'"):
        translator("sv")
