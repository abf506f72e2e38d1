"""What people read, in their language.

Texts stand in the code in English, as `_("…")` with a `Words` named `_`. Translations are gettext catalogues,
locale/<language>/LC_MESSAGES/*.po, which any gettext tool edits; they are read as they are, so that nothing has to be compiled.

What a database keeps is kept in English whoever reads it: `Words.told` finds the template that a text was made from.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tryggport.errors import TryggError

_FOLDER = Path(__file__).with_name("locale")
_ENTRY = re.compile(r'^msgid ((?:"[^\n]*"\n)+)msgstr ((?:"[^\n]*"\n?)+)', re.M)
_FIELD = re.compile(r"\{(\w+)\}")
_BETWEEN_SENTENCES = re.compile(r"(?<=[.?!]) (?=[A-Z0-9])")
# What a field of a template matches: an id is one word, everything else stays within its sentence.
_IDS, _ID, _ANY = ("gateway", "home"), r"\S+", r"(?:(?![.?!] [A-Z0-9]).)+?"
_COMMA = {"nb"}
_NORWEGIAN = ("nb", "nn", "no")


@dataclass(frozen=True)
class Words:
    """One language: call it with an English text."""

    language: str
    messages: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        """The text in this language; as it is where there is no translation."""
        return self.messages.get(text) or text

    def told(self, text: str) -> str:
        """A text that was made from templates with {fields}, in this language: whole, else each of its sentences. What was made from
        no template stays as it is."""
        return self._told(text) or text

    def knows(self, text: str) -> bool:
        """Whether `told` finds what the text was made from."""
        return self._told(text) is not None

    def number(self, value: float, digits: int) -> str:
        """With so many decimals, as the language writes them."""
        text = f"{value:.{digits}f}"
        return text.replace(".", ",") if self.language in _COMMA else text

    def _told(self, text: str) -> str | None:
        if not text or text in self.messages:
            return text and self.messages[text]
        for template, pattern in self._patterns:
            if found := pattern.fullmatch(text):
                return self.messages[template].format(
                    **{name: self.told(part) for name, part in found.groupdict().items()}
                )
        if "A" <= text[0] <= "Z" and (phrase := self._told(text[0].lower() + text[1:])):  # it begins a sentence
            return phrase[0].upper() + phrase[1:]
        parts = _BETWEEN_SENTENCES.split(text)
        known = [self._told(part) for part in parts] if len(parts) > 1 else [None]
        return None if None in known else " ".join(filter(None, known))

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str]]]:
        """The templates, those that say most first."""
        found = sorted((text for text in self.messages if _FIELD.search(text)), key=_said, reverse=True)
        return [(text, _pattern(text)) for text in found]


def plain(text: str) -> str:
    """A text from outside, as it can be stored and printed: without what moves a cursor, ends a line or turns the direction of writing."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def languages() -> list[str]:
    return sorted({"en", *(path.parts[-3] for path in _FOLDER.glob("*/LC_MESSAGES/*.po"))})


def spoken() -> str:
    """The language of this terminal, by the variables that gettext goes by; English where it is none of ours."""
    value = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return "nb" if value[:2] in _NORWEGIAN else "en"


def translator(language: str, domain: str = "tryggport") -> Words:
    """The words of a language for a gettext domain. TryggError when there is no such language."""
    if language not in languages():
        raise TryggError(f"There is no language {language!r}.", f"Say {' or '.join(languages())}.", usage=True)
    return Words(language, {} if language == "en" else _messages(language, domain))


def _messages(language: str, domain: str) -> dict[str, str]:
    text = (_FOLDER / language / "LC_MESSAGES" / f"{domain}.po").read_text(encoding="utf-8")
    return {_joined(known): _joined(said) for known, said in _ENTRY.findall(text)}


def _said(template: str) -> int:
    return len(_FIELD.sub("", template))


def _pattern(template: str) -> re.Pattern[str]:
    """Matches what was made from the template; a group for each field."""
    parts = _FIELD.split(template)  # text, name, text, name, …, text
    for at in range(1, len(parts), 2):
        parts[at] = f"(?P<{parts[at]}>{_ID if parts[at] in _IDS else _ANY})"
        parts[at - 1] = re.escape(parts[at - 1])
    return re.compile("".join([*parts[:-1], re.escape(parts[-1])]), re.S)


def _joined(lines: str) -> str:
    return "".join(ast.literal_eval(line) for line in lines.splitlines())
