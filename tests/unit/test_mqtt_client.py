"""Waits between attempts of gateway.mqtt."""

from gateway.mqtt import Client, Failure

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
