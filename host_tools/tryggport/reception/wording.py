"""What the database keeps in English, in the language of whoever reads it."""

from __future__ import annotations

from tryggport.texts import Words, translator
from tryggport.wire import kinds


def words(language: str) -> Words:
    """Of the reception's lists: sentences of the work list, histories of cases, kinds of events. Raises TryggError."""
    found = translator(language, "reception")
    named = {kind.name: getattr(kind, language).lower() for kind in kinds.KINDS.values()} if found.messages else {}
    return Words(language, {**found.messages, **named})
