"""What people read, in their language.

Texts stand in the code in English, as `_("…")` with a `Words` named `_`. A translation is a gettext catalogue,
locale/<language>/LC_MESSAGES/tryggport.po, which any gettext tool edits; it is read as it is, so that nothing has to be compiled.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

from tryggport.errors import TryggError

_FOLDER = Path(__file__).with_name("locale")
_ENTRY = re.compile(r'^msgid ((?:"[^\n]*"\n)+)msgstr ((?:"[^\n]*"\n?)+)', re.M)
_COMMA = {"nb"}


@dataclass(frozen=True)
class Words:
    """One language: call it with an English text."""

    language: str
    messages: dict[str, str] = field(default_factory=dict)

    def __call__(self, text: str) -> str:
        """The text in this language; as it is where there is no translation."""
        return self.messages.get(text) or text

    def number(self, value: float, digits: int) -> str:
        """With so many decimals, as the language writes them."""
        text = f"{value:.{digits}f}"
        return text.replace(".", ",") if self.language in _COMMA else text


def languages() -> list[str]:
    return sorted({"en", *(path.parts[-3] for path in _FOLDER.glob("*/LC_MESSAGES/tryggport.po"))})


def translator(language: str) -> Words:
    """The words of a language. TryggError when there are none."""
    if language not in languages():
        raise TryggError(f"There is no language {language!r}.", f"Say {' or '.join(languages())}.", usage=True)
    return Words(language, {} if language == "en" else _messages(language))


def _messages(language: str) -> dict[str, str]:
    text = (_FOLDER / language / "LC_MESSAGES" / "tryggport.po").read_text(encoding="utf-8")
    return {_joined(known): _joined(said) for known, said in _ENTRY.findall(text)}


def _joined(lines: str) -> str:
    return "".join(ast.literal_eval(line) for line in lines.splitlines())
