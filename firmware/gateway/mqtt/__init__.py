"""MQTT 5 client for MicroPython's asyncio: QoS 0 and 1, mutual TLS, reconnecting, nothing lost silently.

    import asyncio, ssl
    from gateway.mqtt import Client, tls_opener

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # tls_opener makes it verify the broker
    context.load_verify_locations("ca.der")
    context.load_cert_chain("me.der", "me.key.der")

    async def main():
        client = Client("me", tls_opener([("broker.example", 8883)], context, "broker.example"),
                        session_expiry_s=3600, on_message=lambda topic, payload, properties: print(topic, bytes(payload)))
        client.subscribe("me/command")
        asyncio.create_task(client.run())
        message = client.publish("me/event", b"hello")  # returns at once; kept over reconnects
        await message.wait()
        print(message.state, message.reason)

    asyncio.run(main())

Parts: `codec` bytes and values · `session` messages and what outlives a connection (queue, identifiers, subscriptions), without
I/O · `client` the connection: sockets, deadlines, backoff · `opener` DNS, TCP and TLS. Nothing else of this project is needed.

A publication's fate is `message.state`: QUEUED, SENT (QoS 0: final), ACKED (see `.reason`, 0x80 and above is a refusal),
UNKNOWN (sent, then the session was lost or the client closed), REFUSED (never sent: beyond the server's limits, or closed).
Properties are dicts keyed by the identifiers of MQTT 5 table 2-4; {0x26: [(name, value), ...]} are user properties.
Taken alone (mip with firmware/package.json) it is `mqtt` instead of `gateway.mqtt`. Requirements: protocols/mqtt.md.
"""

from .client import Client as Client
from .codec import Failure as Failure
from .opener import tcp_opener as tcp_opener
from .opener import tls_opener as tls_opener
from .session import ACKED as ACKED
from .session import QUEUED as QUEUED
from .session import REFUSED as REFUSED
from .session import SENT as SENT
from .session import UNKNOWN as UNKNOWN
from .session import QueueFull as QueueFull
