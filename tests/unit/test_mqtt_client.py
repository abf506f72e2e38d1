"""Waits between attempts of gateway.mqtt."""

import asyncio

from gateway.mqtt import QUEUED, UNKNOWN, Client, Failure

HEAPSIZE = "192k"


def waits(jitter, error):
    client = Client("me", None, random=lambda: jitter)
    return [client._wait_ms(attempt, error) for attempt in range(40)]


def test_TP_MQT_066_TP_BND_009_backoff_doubles_to_its_end_with_full_jitter():
    whole = waits(1.0, OSError(113))
    assert whole[:9] == [1000, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]
    assert whole[-1] == 60000
    assert waits(0.0, OSError(113)) == [0] * 40
    assert waits(0.5, Failure("refused", 0x88))[:4] == [500, 500, 1000, 2000]


def test_TP_MQT_066_permanent_refusal_waits_the_longest():
    assert waits(0.0, Failure("refused", 0x87, None, True)) == [60000] * 40


def test_TP_MQT_067_a_round_of_attempts_has_no_wait_and_hurries_after_a_kick():
    waited = []
    limits = []

    class Attempts(Client):
        async def _pause(self, wait_ms):
            waited.append((len(limits), wait_ms))

    async def refuse(attempt):
        limits.append(client.hurry_ms if client._hurry else client.handshake_ms)
        if len(limits) == 4:
            client.kick()
        if len(limits) == 8:
            client._closing = True
        raise OSError(111)

    client = Attempts("me", refuse, round=2, hurry_ms=50, random=lambda: 1)
    asyncio.run(client.run())
    assert waited == [(2, 1000), (4, 2000), (6, 4000)], waited
    assert limits == [15000] * 4 + [50] + [15000] * 3, limits


def test_TP_MQT_068_forget_gives_what_was_sent_its_fate_and_keeps_what_was_not():
    client = Client("me", None, resend=False)
    sent, waiting = client.publish("a", b"1"), client.publish("a", b"2")
    sent._id = 1
    client._session._sent_count = 1
    client.forget()
    assert sent.state == UNKNOWN and waiting.state == QUEUED
    client.reconnect()
    assert not client._moving, "there is no connection to leave"
