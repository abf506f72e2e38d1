"""What a person sets: where to listen, whom to trust, how to log in. Shared by the commands."""

from __future__ import annotations

import dataclasses
import re
import ssl
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tryggport.errors import TryggError
from tryggport.scaip.agent import Listen
from tryggport.scaip.digest import Credentials
from tryggport.scaip.locate import TCP, TLS, UDP

_LISTEN = re.compile(r"(udp|tcp|tls):(\[[0-9a-fA-F:.]+\]|[^:\s]+):([0-9]{1,5})")


@dataclass(frozen=True)
class Settings:
    """Our side of SIP. `client_tls` None: the system's trust; `server_tls` None: nobody reaches us over TLS."""

    listen: tuple[Listen, ...] = (Listen(UDP), Listen(TCP))
    advertise: str = ""
    credentials: dict[str, Credentials] = field(default_factory=dict)
    client_tls: ssl.SSLContext | None = None
    server_tls: ssl.SSLContext | None = None

    def as_options(self) -> dict[str, Any]:
        """For ScaipChannel."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def settings(
    listen: Sequence[str],
    advertise: str = "",
    credentials: Path | None = None,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
) -> Settings:
    """From what was typed. Raises TryggError."""
    where = tuple(map(parse_listen, listen)) or (Listen(UDP), Listen(TCP))
    if any(one.transport == TLS for one in where) and cert is None:
        raise TryggError("To be reached over TLS it needs a certificate.", "Give --cert and --key.", usage=True)
    return Settings(
        where,
        advertise,
        read_credentials(credentials) if credentials else {},
        _client(ca, cert, key) if ca or cert else None,
        _server(cert, key) if cert else None,
    )


def parse_listen(text: str) -> Listen:
    """``udp:127.0.0.1:5060``. Raises TryggError."""
    found = _LISTEN.fullmatch(text.lower())
    if found is None or int(found[3]) > 65535:
        raise TryggError(f"{text!r} is not TRANSPORT:HOST:PORT.", "Example: --listen tls:127.0.0.1:5061", usage=True)
    return Listen({"udp": UDP, "tcp": TCP, "tls": TLS}[found[1]], found[2].strip("[]"), int(found[3]))


def read_credentials(path: Path) -> dict[str, Credentials]:
    """A TOML file with a table for each host of a receiver: user and password. Raises TryggError."""
    hint = 'It holds: ["arc.example"], user = "…", password = "…"'
    try:
        table = tomllib.loads(path.read_text())
    except OSError as e:
        raise TryggError(f"{path} cannot be read: {e.strerror}.", hint) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise TryggError(f"{path} is not TOML: {e}.", hint) from None
    found = {}
    for host, login in table.items():
        if not isinstance(login, dict) or not all(isinstance(login.get(name), str) for name in ("user", "password")):
            raise TryggError(f"{path} gives no user and password for {host}.", hint)
        found[host] = Credentials(login["user"], login["password"])
    return found


def _client(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as e:
        raise TryggError(f"{ca} cannot be used as trust: {_why(e)}.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None:
        _load(context, cert, key)
    return context


def _server(cert: Path, key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, cert, key)
    return context


def _load(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as e:
        raise TryggError(f"The certificate {cert} and its key cannot be used: {_why(e)}.") from None


def _why(e: OSError) -> str:
    return e.strerror or str(e)
