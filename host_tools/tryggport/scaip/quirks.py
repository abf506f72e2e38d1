"""What real devices put on the wire, in our own words: the corpus that readers are tested with, and `scaip send --quirk` sends."""

from __future__ import annotations

from tryggport.scaip.message import MEDIA_TYPE

XML = "application/xml"
# name: (media type, body with {cid} and {ref}, (mty, dty, stc) that a reader must find, what is odd)
QUIRKS: dict[str, tuple[str, str, tuple[str, int, int], str]] = {
    "possum": (
        MEDIA_TYPE, "<mrq><ref>{ref}</ref><mty>PI</mty><cid>{cid}</cid><dty>2</dty></mrq>", ("PI", 2, 10),
        "heartbeat without leading zeros",
    ),
    "essence": (
        MEDIA_TYPE,
        "<mrq><ref>{ref}</ref><cid>{cid}</cid><cha>0</cha><mty>PI</mty><dty>02</dty><did>00</did><crd>no-voice:</crd><stc>102</stc></mrq>",
        ("PI", 2, 102), "heartbeat with codes of two and three digits",
    ),
    "telealarm": (
        MEDIA_TYPE,
        "<mrq><ref>{ref}</ref><mty>PI</mty><cid>{cid}</cid><dty>0002</dty><stc>0009</stc><lco>002</lco><crd>gsm:</crd><cha>0</cha></mrq>",
        ("PI", 2, 9), "heartbeat that looks like an automatic alarm",
    ),
    "short": (
        MEDIA_TYPE, "<mrq><ref>{ref}</ref><cid>{cid}</cid><dty>3</dty><stc>10</stc></mrq>", ("ME", 3, 10),
        "alarm with codes of one and two digits",
    ),
    "uneven": (
        MEDIA_TYPE, "<mrq><ref>{ref}</ref><cid>{cid}</cid><dty>02</dty><stc>010</stc></mrq>", ("ME", 2, 10),
        "alarm with a zero too few and one too many",
    ),
    "doro": (
        MEDIA_TYPE, "<mrq><ref>{ref}</ref><cid> {cid}</cid><dty>0004</dty><stc>0010</stc></mrq>", ("ME", 4, 10),
        "a space before the cid",
    ),
    "syntilio": (
        XML, "<scaip><ref>{ref}</ref><cid>{cid}</cid><dty>0005</dty><stc>0009</stc></scaip>", ("ME", 5, 9),
        "another root and media type",
    ),
    "namespace": (
        MEDIA_TYPE,
        "<?xml version='1.0'?>\n<s:mrq xmlns:s='urn:x'><s:ref>{ref}</s:ref><s:cid>{cid}</s:cid><s:dty>0015</s:dty><s:stc>0009</s:stc>"
        "<s:mreq>4</s:mreq></s:mrq>",
        ("ME", 15, 9), "a namespace and a tag of a later version",
    ),
    "position": (
        MEDIA_TYPE,
        "<mrq><ref>{ref}</ref><cid>{cid}</cid><dty>0051</dty><stc>0010</stc><lco>034</lco>"
        "<lge><geo>63.43,10.39</geo><tim>2026-11-22T03:10:00.00</tim></lge></mrq>",
        ("ME", 51, 10), "a position inside lge",
    ),
    "latin-1": (
        MEDIA_TYPE, "<mrq><ref>{ref}</ref><cid>{cid}</cid><dty>0004</dty><stc>0010</stc><lte>Kjøkken</lte></mrq>", ("ME", 4, 10),
        "undeclared ISO-8859-1",
    ),
}  # fmt: skip


def quirky(name: str, cid: str, ref: str) -> tuple[str, bytes]:
    """Media type and body of a quirk."""
    media_type, body, _, _ = QUIRKS[name]
    return media_type, body.format(cid=cid, ref=ref).encode("latin-1" if name == "latin-1" else "utf-8")
