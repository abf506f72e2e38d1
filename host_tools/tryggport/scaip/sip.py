"""SIP messages (RFC 3261): as much as MESSAGE needs. Strict out; tolerant in: folded lines, compact names, bare LF, any host name.

One class for requests and responses. Header values stay text: a Via goes back as it came (RFC 3261 section 8.2.6.2).
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace

from tryggport.errors import TryggError

MAX_HEADER = 8192  # TP-BND-202
MAX_BODY = 16384
BRANCH = "z9hG4bK"  # RFC 3261 section 8.1.1.7
_COMPACT = {
    "v": "via",
    "f": "from",
    "t": "to",
    "i": "call-id",
    "l": "content-length",
    "c": "content-type",
    "m": "contact",
}
_START = re.compile(r"(?:SIP/2\.0 ([1-6][0-9]{2})(?: (.*))?|([A-Z]{2,20}) (\S+) SIP/2\.0)", re.ASCII)
_USER = re.compile(r"sips?:([^@;:<>\s]+)(?::[^@;<>\s]*)?@", re.IGNORECASE)
_TAG = re.compile(r";\s*tag\s*=\s*([^;,\s]+)", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")
PHRASES = {
    100: "Trying", 200: "OK", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 405: "Method Not Allowed",
    407: "Proxy Authentication Required", 413: "Request Entity Too Large", 415: "Unsupported Media Type",
    486: "Busy Here", 500: "Server Internal Error", 503: "Service Unavailable",
}  # fmt: skip


class SipError(TryggError):
    """Bytes that are not a SIP message that can be answered."""

    def __init__(self, what: str) -> None:
        super().__init__(f"Not a SIP message: {what}.")


@dataclass(frozen=True, slots=True)
class SipMessage:
    """A request (`method`, `uri`) or a response (`code`, `phrase`). Header names are lower case, in the order they came."""

    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    method: str = ""
    uri: str = ""
    code: int = 0
    phrase: str = ""

    def get(self, name: str) -> str:
        """The first value of a header, or the empty text."""
        return next((value for key, value in self.headers if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def with_header(self, name: str, value: str) -> SipMessage:
        """With `value` as the only value of the header, in its old place."""
        if name not in dict(self.headers):
            return replace(self, headers=(*self.headers, (name, value)))
        kept = list(self.headers)
        at = [key for key, _ in kept].index(name)
        kept[at] = (name, value)
        return replace(self, headers=tuple(kv for i, kv in enumerate(kept) if i == at or kv[0] != name))

    @property
    def branch(self) -> str:
        """The transaction: the branch of the topmost Via."""
        return parameter(top(self.get("via")), "branch")

    @property
    def from_user(self) -> str:
        """The user part of From; empty where there is none."""
        found = _USER.search(self.get("from"))
        return found[1] if found else ""

    @property
    def media_type(self) -> str:
        return self.get("content-type").partition(";")[0].strip().lower()

    def to_bytes(self) -> bytes:
        start = f"{self.method} {self.uri} SIP/2.0" if self.method else f"SIP/2.0 {self.code} {self.phrase}"
        lines = [start, *(f"{_shown(name)}: {value}" for name, value in self.headers)]
        text = "\r\n".join(lines)
        if len(lines) != len(text.split("\n")) or "\r" in text.replace("\r\n", ""):
            raise SipError("a line end inside a header")
        return f"{text}\r\nContent-Length: {len(self.body)}\r\n\r\n".encode() + self.body


def parse(data: bytes) -> SipMessage:
    """One whole message. Raises SipError and nothing else, whatever the bytes."""
    data = data.lstrip(b"\r\n")
    end = _END.search(data)
    if end is None or end.start() > MAX_HEADER:
        raise SipError("its headers do not end" if end is None else f"more than {MAX_HEADER} bytes of headers")
    text = re.sub(r"\r?\n[ \t]+", " ", data[: end.start()].decode("utf-8", "replace"))
    first, *lines = re.split(r"\r?\n", text)
    start = _START.fullmatch(first.strip())
    if start is None:
        raise SipError(f"it begins {first[:40]!r}")
    headers = tuple(_header(line) for line in lines if line.strip())
    code, phrase, method, uri = start.groups()
    message = SipMessage(headers, method=method or "", uri=uri or "", code=int(code or 0), phrase=phrase or "")
    _check(message)
    length = body_length(message)
    body = data[end.end() :]
    if length is not None and len(body) < length:
        raise SipError("its body is cut off")
    return replace(message, body=body[:length], headers=tuple(h for h in headers if h[0] != "content-length"))


def split_stream(buffer: bytearray) -> bytes | None:
    """Takes the first whole message off a stream's buffer, or None while it is incomplete (RFC 3261 section 18.3).

    Raises SipError when the stream can no longer be followed.
    """
    while buffer[:2] == b"\r\n":  # keep-alive, RFC 5626 section 3.5.1
        del buffer[:2]
    end = _END.search(buffer)
    if end is None:
        if len(buffer) > MAX_HEADER:
            raise SipError(f"more than {MAX_HEADER} bytes of headers")
        return None
    found = re.search(
        rb"(?:^|\n)(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,6})[ \t]*\r?(?:\n|$)", buffer[: end.start()], re.I
    )
    length = int(found[1]) if found else 0
    if length > MAX_BODY:
        raise SipError(f"more than {MAX_BODY} bytes of body")
    if len(buffer) < end.end() + length:
        return None
    message = bytes(buffer[: end.end() + length])
    del buffer[: end.end() + length]
    return message


def body_length(message: SipMessage) -> int | None:
    """The Content-Length, None without one. Raises SipError."""
    text = message.get("content-length")
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,6}", text, re.ASCII) or int(text) > MAX_BODY:
        raise SipError(f"its length is {text[:40]!r}")
    return int(text)


def request(
    uri: str, via: str, sender: str, body: bytes, media_type: str, *, call_id: str = "", cseq: int = 1
) -> SipMessage:
    """A MESSAGE outside any dialog (RFC 3428). `via`: transport and address, without a branch; `sender`: our URI."""
    headers = (
        ("via", f"SIP/2.0/{via};branch={BRANCH}{secrets.token_hex(10)};rport"),
        ("max-forwards", "70"),
        ("from", f"<{sender}>;tag={secrets.token_hex(6)}"),
        ("to", f"<{uri}>"),
        ("call-id", call_id or secrets.token_hex(12)),
        ("cseq", f"{cseq} MESSAGE"),
        ("user-agent", "Tryggport"),
        ("content-type", media_type),
    )
    return SipMessage(headers, body, method="MESSAGE", uri=uri)


def again(message: SipMessage, name: str, value: str) -> SipMessage:
    """The same request with one more header, as the next transaction of the same call (RFC 3261 section 22.2)."""
    number = int(message.get("cseq").split()[0]) + 1
    via = re.sub(rf"branch={BRANCH}[^;]*", f"branch={BRANCH}{secrets.token_hex(10)}", message.get("via"))
    return message.with_header("via", via).with_header("cseq", f"{number} MESSAGE").with_header(name, value)


def respond(to: SipMessage, code: int, body: bytes = b"", media_type: str = "") -> SipMessage:
    """A response to a request (RFC 3261 section 8.2.6)."""
    copied = [(name, value) for name, value in to.headers if name in ("via", "from", "call-id", "cseq")]
    target = to.get("to")
    tagged = target if _TAG.search(target) else f"{target};tag={secrets.token_hex(6)}"
    more = (("content-type", media_type),) if body else ()
    return SipMessage((*copied, ("to", tagged), *more), body, code=code, phrase=PHRASES.get(code, "Answer"))


def parameter(value: str, name: str) -> str:
    """A parameter of a header value, or the empty text."""
    found = re.search(rf";\s*{name}\s*=\s*([^;,\s]+)", value, re.IGNORECASE)
    return found[1].strip('"') if found else ""


def top(value: str) -> str:
    """The first of the values that a Via line may hold."""
    return value.split(",")[0].strip()


def stamp(via: str, host: str, port: str) -> str:
    """A Via as its receiver marks it: where it came from, and the port if it asks for it."""
    marked = re.sub(r";\s*rport(?:\s*=\s*[0-9]*)?", f";rport={port}", via, count=1, flags=re.IGNORECASE)
    return re.sub(r";\s*received\s*=[^;,]*", "", marked, flags=re.IGNORECASE) + f";received={host}"


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    name = name.strip().lower()
    if not colon or not re.fullmatch(r"[a-z0-9\-.!%*_+`'~]+", name):
        raise SipError(f"a header is {line[:40]!r}")
    return _COMPACT.get(name, name), value.strip()


def _check(message: SipMessage) -> None:
    for name in ("via", "from", "to", "call-id", "cseq"):
        if not message.get(name):
            raise SipError(f"there is no {name.title()}")
    number, _, method = message.get("cseq").partition(" ")
    if not re.fullmatch("[0-9]{1,10}", number, re.ASCII) or message.method not in ("", method.strip()):
        raise SipError(f"its CSeq is {message.get('cseq')[:40]!r}")


def _shown(name: str) -> str:
    return {"call-id": "Call-ID", "cseq": "CSeq", "www-authenticate": "WWW-Authenticate"}.get(name, name.title())
