"""SCAIP's XML: the request `mrq` and the reply `mrs` (tags and limits of SS 91100:2014 as open implementations have them).

Strict out: a value beyond its limit is a ScaipError before anything is sent, and codes have all their zeros.
Tolerant in: codes are numbers, with or without zeros; space round a value, an unknown tag, a wrong root, a namespace or an
undeclared Latin-1 text is no reason to lose an alarm. What cannot be read is one ScaipError that carries the reply to give.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar
from xml.etree import ElementTree

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from tryggport.errors import TryggError

MEDIA_TYPE = "application/scaip+xml"
MAX_BODY = 8192  # TP-BND-201
MAX_TAGS = 64
MAX_TEXT = 256
OK, TOO_LONG, INVALID, WRONG_DATA, HOLD, NOT_TREATED, BUSY, TAG_MISSING, OTHER = 0, 1, 2, 3, 4, 5, 6, 7, 99
MESSAGE, RESET, INFORMATION, HEARTBEAT = "ME", "RE", "IN", "PI"
_NOTHING: Mapping[str, str] = MappingProxyType({})


def _nothing() -> Mapping[str, str]:
    return _NOTHING


_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class ScaipError(TryggError):
    """Not a SCAIP message. `snu`: the status number that says so to its sender; `ref`: its reference, if it can be read."""

    def __init__(self, what: str, snu: int = INVALID, ref: str = "") -> None:
        super().__init__(f"Not a SCAIP message: {what}.")
        self.snu = snu
        self.ref = ref


@dataclass(frozen=True, slots=True)
class Limit:
    """How a tag is written: the pattern of its text; `zeros`: a number of so many digits."""

    pattern: str
    zeros: int = 0


REQUEST_TAGS = {  # in the order in which they are written
    "ref": Limit("[0-9A-Za-z]{1,16}"),
    "ver": Limit("[0-9]{2}[.][0-9]{2}"),
    "mty": Limit("ME|RE|IN|PI"),
    "sco": Limit("[0-3]", 1),
    "cha": Limit("[01]", 1),
    "hbo": Limit("[0-9]{1,3}", 1),
    "cid": Limit("[0-9]{1,16}"),
    "dty": Limit("[0-9]{4}", 4),
    "did": Limit(".{1,8}"),
    "dco": Limit("[0-9]{3}", 3),
    "dte": Limit(".{1,32}"),
    "stc": Limit("[0-9]{4}", 4),
    "stt": Limit(".{1,32}"),
    "pri": Limit("[0-9]", 1),
    "lco": Limit("[0-9]{3}", 3),
    "lva": Limit(".{1,2}"),
    "lte": Limit(".{1,32}"),
    "ico": Limit("[0-9]{3}", 3),
    "ite": Limit(".{1,128}"),
    "ame": Limit("[01]", 1),
    "crd": Limit("(sip|sips|tel|gsm|no-voice):.{0,248}"),
}
REPLY_TAGS = {
    "ref": Limit("[0-9A-Za-z]{1,16}"),
    "snu": Limit("[0-9]{1,5}", 1),
    "ste": Limit(".{1,128}"),
    "cve": Limit("[0-9]{2}[.][0-9]{2}"),
    "mre": Limit("[0-9]{1,2}", 1),
    "cre": Limit("[0-9]{2}", 2),
    "tnu": Limit(".{1,256}"),
    "hbi": Limit("[0-4]", 1),
}
MANDATORY = ("ref", "cid", "dty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One `mrq`. Codes are numbers, texts None when absent; a field with its default is not written but for ver and mty.

    `other`: tags that are not known here, as they came.
    """

    ref: str
    cid: str
    dty: int
    ver: str = "01.00"
    mty: str = MESSAGE
    sco: int = 0
    cha: int = 0
    hbo: int = 0
    did: str | None = None
    dco: int | None = None
    dte: str | None = None
    stc: int = 10
    stt: str | None = None
    pri: int = 0
    lco: int | None = None
    lva: str | None = None
    lte: str | None = None
    ico: int | None = None
    ite: str | None = None
    ame: int = 0
    crd: str = "sip:"
    other: Mapping[str, str] = field(default_factory=_nothing)

    def to_xml(self) -> bytes:
        """Raises ScaipError for a value beyond its limit."""
        return _write("mrq", self, REQUEST_TAGS, always=("ver", "mty", "stc"))

    def reduced(self) -> Request:
        """The mandatory tags, the kind of message and the status: for a receiver that rejects the rest."""
        return Request(ref=self.ref, cid=self.cid, dty=self.dty, mty=self.mty, stc=self.stc, crd=self.crd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One `mrs`. `snu` 0 is the only status that says the receiver has the alarm."""

    ref: str
    snu: int
    ste: str | None = None
    cve: str | None = None
    mre: int | None = None
    cre: int | None = None
    tnu: str | None = None
    hbi: int | None = None
    other: Mapping[str, str] = field(default_factory=_nothing)

    def to_xml(self) -> bytes:
        """Raises ScaipError for a value beyond its limit."""
        return _write("mrs", self, REPLY_TAGS, always=("snu",))


def printable(text: str, length: int) -> str:
    """`text` as it can stand in a tag of at most `length` characters: no line ends, nothing that XML forbids."""
    return " ".join(_NOT_XML.sub(" ", text).split())[:length].strip()


def parse(body: bytes) -> Request | Reply:
    """The message of a SIP body. Raises ScaipError and nothing else, whatever the bytes."""
    if len(body) > MAX_BODY:
        raise ScaipError(f"more than {MAX_BODY} bytes", TOO_LONG)
    tags = _tags(_root(body))
    ref = tags.get("ref", "")
    known_ref = ref if re.fullmatch(REQUEST_TAGS["ref"].pattern, ref) else ""
    try:
        if "snu" in tags:
            return _read(Reply, tags, REPLY_TAGS, ("ref", "snu"))
        return _read(Request, tags, REQUEST_TAGS, MANDATORY)
    except ScaipError as e:
        e.ref = known_ref
        raise


_M = TypeVar("_M", "Request", "Reply")


def _write(root: str, message: Request | Reply, limits: Mapping[str, Limit], always: tuple[str, ...]) -> bytes:
    defaults = {f.name: f.default for f in dataclasses.fields(message)}
    element = ElementTree.Element(root)
    for tag, limit in limits.items():
        value = getattr(message, tag)
        if value is None or (value == defaults[tag] and tag not in always):
            continue
        text = f"{value:0{limit.zeros}d}" if limit.zeros else str(value)
        if not re.fullmatch(limit.pattern, text, re.ASCII) or text != printable(text, len(text)):
            raise ScaipError(f"{tag} cannot be {text[:40]!r}", WRONG_DATA)
        ElementTree.SubElement(element, tag).text = text
    return b'<?xml version="1.0" encoding="UTF-8"?>' + _encoded(element)


def _encoded(element: ElementTree.Element) -> bytes:
    text: str = ElementTree.tostring(element, encoding="unicode")
    return text.encode()


def _root(body: bytes) -> ElementTree.Element:
    try:
        return _tree(body)
    except ScaipError:
        if b"encoding" in body[:100] or not _is_latin(body):
            raise
    return _tree(b'<?xml version="1.0" encoding="ISO-8859-1"?>' + re.sub(rb"^\s*<\?xml.*?\?>", b"", body))


def _tree(body: bytes) -> ElementTree.Element:
    try:
        root: ElementTree.Element = defusedxml.ElementTree.fromstring(body.strip(), forbid_dtd=True)
    except ElementTree.ParseError as e:
        raise ScaipError(f"the XML is broken: {e}") from None
    except DefusedXmlException:
        raise ScaipError("it declares a document type, which is not allowed") from None
    except (LookupError, ValueError) as e:
        raise ScaipError(f"its encoding cannot be read: {e}") from None
    return root


def _is_latin(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return b"\x00" not in body
    return False


def _tags(root: ElementTree.Element) -> dict[str, str]:
    """Text by lower-case tag of all leaves, whatever they are nested in (`lge`, or an envelope of some maker)."""
    found: dict[str, str] = {}
    for count, element in enumerate(root.iter()):
        if count > MAX_TAGS:
            raise ScaipError(f"more than {MAX_TAGS} tags", TOO_LONG)
        text = (element.text or "").strip()
        if len(element) or not text:
            continue
        tag = element.tag.rpartition("}")[2].lower()
        if found.setdefault(tag, text) != text:
            raise ScaipError(f"{tag} is there twice")
    return found


def _read(cls: type[_M], tags: dict[str, str], limits: Mapping[str, Limit], mandatory: tuple[str, ...]) -> _M:
    for tag in mandatory:
        if tag not in tags:
            raise ScaipError(f"{tag} is missing", TAG_MISSING)
    values: dict[str, Any] = {
        tag: _value(tag, text, limits[tag])
        for tag, text in tags.items()
        if tag in limits
    }  # fmt: skip
    return cls(**values, other={tag: text for tag, text in tags.items() if tag not in limits})


def _value(tag: str, text: str, limit: Limit) -> str | int:
    """A number of at most 5 digits, an exact identity, or a text cut to its limit."""
    if limit.zeros:
        if not re.fullmatch("[0-9]{1,5}", text, re.ASCII):
            raise ScaipError(f"{tag} is {text[:40]!r}, not a number", WRONG_DATA)
        return int(text)
    value = text if tag in ("ref", "cid") else printable(text, MAX_TEXT)
    value = value.upper() if tag == "mty" else value
    if tag in ("ref", "cid", "mty") and not re.fullmatch(limit.pattern, value, re.ASCII):
        raise ScaipError(f"{tag} cannot be {text[:40]!r}", WRONG_DATA)
    return value
