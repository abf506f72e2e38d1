"""Translations: complete, with the same fields, and nothing left over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from tryggport import paths
from tryggport.errors import TryggError
from tryggport.falls import activities, evaluate, sensors
from tryggport.texts import Words, languages, plain, spoken, translator

FIELD = re.compile(r"\{(\w+[!:\w]*)\}")
SHOWS = ("cli/reception.py", "cli/cases.py", "cli/events.py")
PLAIN = {name for name in sensors.SENSORS if re.fullmatch(r"[\d.±]+ (Hz|g)", name)}


def modules() -> Iterator[tuple[str, ast.AST]]:
    """(gettext domain, syntax tree) of each module: what the reception shows has a catalogue of its own."""
    folder = paths.folder("host_tools") / "tryggport"
    for path in folder.rglob("*.py"):
        where = path.relative_to(folder).as_posix()
        shows = where.startswith(("reception/", "scaip/", "wire/kinds")) or where in SHOWS
        yield "reception" if shows else "tryggport", ast.parse(path.read_text(encoding="utf-8"))


def said(domain: str) -> Iterator[str]:
    """Every text that the programs look up."""
    for found, tree in modules():
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name("_"), args=[ast.Constant(text)]) if found == domain:
                    yield text
    if domain == "tryggport":
        yield from evaluate.REFUSALS
        yield from activities.SISFALL.values()
        yield from activities.UMAFALL.values()
        yield from set(sensors.SENSORS) - PLAIN


def made() -> str:
    """Every text that the reception may make: constants and f-strings, with {} for what is put into them."""
    found = []
    for domain, tree in modules():
        for node in ast.walk(tree) if domain == "reception" else ():
            match node:
                case ast.Constant(str(text)):
                    found.append(FIELD.sub("{}", text))
                case ast.JoinedStr(values):
                    found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in values))
    return "\n".join(found)


@pytest.mark.parametrize(("domain", "least"), [("tryggport", 80), ("reception", 20)])
def test_every_text_has_a_translation_with_the_same_fields(domain: str, least: int) -> None:
    texts = set(said(domain))
    assert len(texts) > least
    for language in languages():
        if language != "en":
            messages = translator(language, domain).messages
            assert {text for text in texts if text not in messages} == set()
            for text, translated in messages.items():
                assert sorted(FIELD.findall(text)) == sorted(FIELD.findall(translated)), text
            if domain == "tryggport":
                assert set(messages) - texts == {""}


def test_the_reception_says_everything_that_is_translated() -> None:
    """The other way round, each test of the reception's model sees to it: reception_world.py."""
    everything = made()
    templates = {FIELD.sub("{}", text) for text in translator("nb", "reception").messages}
    assert {text for text in templates if text not in everything} == set()


NB = Words(
    "nb",
    {
        "{place} is silent. Call it.": "{place} er taus. Ring den.",
        "{place} is silent. Call it. It has {count} paths.": "{place} har {count} veier.",
        "the clock of {place} is {which}.": "klokken i {place} er {which}.",
        "the gateway {gateway}": "porten {gateway}",
        "It was asked {times}.": "Den er spurt {times}.",
        "once": "én gang",
    },
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("once", "én gang"),
        ("The gateway a-1 is silent. Call it.", "Porten a-1 er taus. Ring den."),
        ("The gateway a-1 is silent. Call it. It has 2 paths.", "Porten a-1 har 2 veier."),
        ("The clock of the gateway a-1 is {which}.", "Klokken i porten a-1 er {which}."),
        ("The clock of the gateway a-1 is 0:1. It was asked once.", "Klokken i porten a-1 er 0:1. Den er spurt én gang."),
        ("The clock of the gateway a-1 is 0:1. It was asked once. Why?", None),
        ("The gateway a-1 sleeps.", None),
        ("", ""),
    ],
)  # fmt: skip
def test_what_was_made_from_templates_is_told_in_another_language(text: str, wanted: str | None) -> None:
    assert NB.told(text) == (text if wanted is None else wanted)
    assert NB.knows(text) is (wanted is not None)
    assert Words("en").told(text) == text


@pytest.mark.parametrize("name", ["𝐀", "ℂ", "Å", "É. 𝐀", "{place}", "{0}", "%s"])
def test_whatever_somebody_calls_something_is_told_as_it_is(name: str) -> None:
    assert NB.told(f"{name} is silent. Call it.") == f"{name} er taus. Ring den." or ". " in name
    assert NB.told(name) == name


def test_a_text_from_outside_moves_no_cursor() -> None:
    assert plain("Å-1 søvn 𝐀") == "Å-1 søvn 𝐀"
    assert plain("a\x00\x1b[2K\r\n\x9b\u202e\u2028b") == "a??[2K?????b"


def test_a_long_name_that_looks_like_templates_takes_no_long_time() -> None:
    name = "the clock of " * 200 + " is silent" * 200
    assert NB.told(f"{name}. Call it!") == f"{name}. Call it!"


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, "en"), ({"LANG": "nb_NO.UTF-8"}, "nb"), ({"LANG": "nn_NO.UTF-8"}, "nb"), ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "nb_NO.UTF-8", "LC_ALL": "en_GB.UTF-8"}, "en"), ({"LANG": "", "LC_MESSAGES": "no"}, "nb"),
    ],
)  # fmt: skip
def test_the_language_is_that_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: str
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert spoken() == wanted


def test_numbers_are_written_as_the_language_does() -> None:
    assert translator("nb").number(98.94, 1) == "98,9"
    assert translator("en").number(98.94, 1) == "98.9"


def test_what_is_not_translated_stays() -> None:
    assert Words("nb", {"yes": "ja", "no": ""})("no") == "no"
    assert translator("nb")("No such text.") == "No such text."


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(TryggError, match="There is no language 'sv'"):
        translator("sv")
