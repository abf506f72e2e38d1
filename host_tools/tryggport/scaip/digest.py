"""Digest authentication in SIP: RFC 2617 (MD5) and RFC 8760 (SHA-256), quality of protection `auth` or none."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.request import parse_http_list

ALGORITHMS = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}  # the preferred one first (RFC 8760 section 2.4)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a receiver gave us to send with."""

    user: str
    password: str


def parse(value: str) -> dict[str, str]:
    """The parameters of a Digest challenge or answer; empty for any other scheme."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        return {}
    pairs = (item.partition("=") for item in parse_http_list(rest))
    return {name.strip().lower(): _unquote(text.strip()) for name, _, text in pairs}


def answer(challenges: Iterable[str], who: Credentials, method: str, uri: str) -> str | None:
    """The Authorization for the strongest challenge that we can answer; None when there is none."""
    read = [parameters for parameters in map(parse, challenges) if parameters.get("nonce")]
    for algorithm in ALGORITHMS:
        for challenge in read:
            if challenge.get("algorithm", "MD5").upper() == algorithm:
                given = _given(challenge, who, uri)
                if given is not None:
                    given["response"] = _response(given, challenge, who.password, method)
                    return "Digest " + ", ".join(_written(name, text) for name, text in given.items())
    return None


def challenge(realm: str, nonce: str, algorithm: str) -> str:
    return f'Digest realm="{realm}", nonce="{nonce}", algorithm={algorithm}, qop="auth"'


def matches(value: str, who: Credentials, method: str, realm: str, nonce: str) -> bool:
    """Whether an Authorization answers our challenge with these credentials."""
    given = parse(value)
    if (given.get("username"), given.get("realm"), given.get("nonce")) != (who.user, realm, nonce):
        return False
    if given.get("algorithm", "MD5").upper() not in ALGORITHMS or not given.get("uri"):
        return False
    expected = _response(given, given, who.password, method)
    return secrets.compare_digest(expected.encode(), given.get("response", "").encode())


def _given(challenge: Mapping[str, str], who: Credentials, uri: str) -> dict[str, str] | None:
    given = {"username": who.user, "realm": challenge.get("realm", ""), "nonce": challenge["nonce"], "uri": uri}
    for name in ("algorithm", "opaque"):
        if name in challenge:
            given[name] = challenge[name]
    offered = re.split(r"[\s,]+", challenge.get("qop", "").strip())
    if "auth" in offered:
        given |= {"qop": "auth", "nc": "00000001", "cnonce": secrets.token_hex(8)}
    elif offered != [""]:
        return None
    return given


def _response(given: Mapping[str, str], challenge: Mapping[str, str], password: str, method: str) -> str:
    algorithm = ALGORITHMS[challenge.get("algorithm", "MD5").upper()]

    def digest(text: str) -> str:
        return algorithm(text.encode()).hexdigest()

    ha1 = digest(f"{given['username']}:{given['realm']}:{password}")
    ha2 = digest(f"{method}:{given['uri']}")
    if given.get("qop"):
        return digest(f"{ha1}:{given['nonce']}:{given.get('nc')}:{given.get('cnonce')}:{given['qop']}:{ha2}")
    return digest(f"{ha1}:{given['nonce']}:{ha2}")


def _written(name: str, text: str) -> str:
    if name in ("algorithm", "qop", "nc"):  # tokens, RFC 3261 section 25.1
        return f"{name}={text}"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"'


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if len(text) > 1 and text[0] == text[-1] == '"' else text
