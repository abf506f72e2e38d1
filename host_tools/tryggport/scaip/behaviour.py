"""How the simulated centre behaves towards one message: well, or badly in a way that real ones do."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tryggport.errors import TryggError
from tryggport.scaip.message import BUSY, OK, Reply


@dataclass(frozen=True, slots=True)
class Behaviour:
    """`code`: the SIP response, 0 for none; `inside`, `apart`: where the reply goes (both may be);
    `delay_s` before the separate reply, which is sent `copies` times; `foreign`: with another reference."""

    code: int = 200
    inside: bool = False
    apart: bool = True
    snu: int = OK
    delay_s: float = 0.0
    copies: int = 1
    foreign: bool = False
    odd: str = ""


NAMED = {
    "ok": (Behaviour(), "200, then the reply as a MESSAGE of its own"),
    "202": (Behaviour(code=202), "the same with 202"),
    "inside": (Behaviour(inside=True, apart=False), "the reply in the 200"),
    "both": (Behaviour(inside=True), "the reply in the 200 and as a MESSAGE"),
    "lost": (Behaviour(code=0, apart=False), "no answer at all"),
    "no-reply": (Behaviour(apart=False), "200 and never a reply"),
    "duplicate": (Behaviour(copies=3), "the reply three times"),
    "wrong-ref": (Behaviour(foreign=True), "a reply for another reference"),
    "wrong-ref-inside": (Behaviour(foreign=True, inside=True, apart=False), "the same in the 200"),
    "busy": (Behaviour(snu=BUSY), "status number 6"),
    "padded": (Behaviour(odd="padded"), "a reply with spaces, zeros and a namespace"),
    "scaip-root": (
        Behaviour(inside=True, apart=False, odd="scaip-root"),
        "application/xml and the root <scaip>, in the 200",
    ),
    "latin-1": (Behaviour(odd="latin-1"), "a reply in undeclared ISO-8859-1"),
    "broken": (Behaviour(inside=True, apart=False, odd="broken"), "a 200 with a body that is no XML"),
}
PATTERNS = "NNN (a SIP status) · snu=N · inside-snu=N · late=SECONDS"


def behaviour(text: str) -> Behaviour:
    """The behaviour of a name, or of ``503``, ``snu=5``, ``inside-snu=5``, ``late=12.5``. Raises TryggError."""
    if text in NAMED:
        return NAMED[text][0]
    if re.fullmatch("[3-6][0-9]{2}", text, re.ASCII):
        return Behaviour(code=int(text), apart=False)
    name, _, value = text.partition("=")
    if re.fullmatch("[0-9]{1,5}", value, re.ASCII) and name in ("snu", "inside-snu"):
        return Behaviour(snu=int(value), inside=name != "snu", apart=name == "snu")
    if re.fullmatch(r"[0-9]{1,4}(\.[0-9]+)?", value, re.ASCII) and name == "late":
        return Behaviour(delay_s=float(value))
    raise TryggError(f"There is no behaviour {text!r}.", f"Known: {' '.join(NAMED)} · {PATTERNS}", usage=True)


def script(text: str) -> list[Behaviour]:
    """``busy,lost,ok``: one behaviour a message. Raises TryggError."""
    return [behaviour(part.strip()) for part in text.split(",") if part.strip()]


def body_of(reply: Reply, odd: str) -> tuple[bytes, str]:
    """The reply as a centre with this oddity writes it, and its media type."""
    body = reply.to_xml()
    if odd == "padded":
        text = f"<mrs xmlns='urn:x'>\r\n <ref> {reply.ref} </ref> <snu> {reply.snu:05d}</snu><mre>0</mre><xyz>1</xyz></mrs>"
        return text.encode(), "Application/SCAIP+xml;charset=utf-8"
    if odd == "scaip-root":
        return body.replace(b"<mrs>", b"<scaip>").replace(b"</mrs>", b"</scaip>"), "application/xml"
    if odd == "latin-1":
        return f"<mrs><ref>{reply.ref}</ref><snu>{reply.snu}</snu><ste>Ærlig på Ås</ste></mrs>".encode("latin-1"), ""
    if odd == "broken":
        return body[: len(body) // 2], ""
    return body, ""


def with_status(found: Behaviour, snu: int) -> Behaviour:
    """The same manners with another status number; a centre that says nothing goes on saying nothing."""
    return replace(found, snu=snu)
