"""The built-in `socket`; names and addresses are resolved by the board's network, which can be down and can delay."""

import _hub
import usocket
from micropython import const

_ROUTE = const(23)


def __getattr__(name):
    return getattr(usocket, name)


def getaddrinfo(host, port, af=0, type=0, proto=0, flags=0):
    """Addresses as the built-in one gives them. Raises OSError(-202) while the network is down or the name is unknown."""
    if host != "0.0.0.0":
        port = _hub.call(_ROUTE, 0, port, 0, host)
    return usocket.getaddrinfo("127.0.0.1", port, usocket.AF_INET, type or usocket.SOCK_STREAM)
