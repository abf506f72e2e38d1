"""Receivers that fail, and what reaches them over TLS (TP-REC-006, TP-REC-007, TP-REC-009)."""

import contextlib
import hashlib
import hmac
import json
import threading
import time

import pytest
from https_site import https_server
from reception_databases import database_url, postgres  # noqa: F401
from reception_duty import Duty, Receiver
from reception_world import MINUTE, SECOND, sqlite_url
from tryggport import pki
from tryggport.errors import TryggError
from tryggport.reception import canary, escalation
from tryggport.reception.channels import DELIVERED, REFUSED, UNDELIVERED, Delivery, Webhook
from tryggport.reception.escalation import Step
from tryggport.wire import kinds

SECRET = b"a secret of thirty-two characters"


@pytest.fixture
def duty(database_url):  # noqa: F811
    made = Duty(database_url)
    made.begin()
    yield made
    made.running.close()
    made.close()


def test_TP_REC_007_an_alarm_that_a_receiver_chokes_on_does_not_keep_the_next_from_being_tried(duty):
    duty.receivers["first"].answers = [UNDELIVERED, UNDELIVERED, DELIVERED]
    duty.alarm(0)
    duty.tick()
    duty.alarm(1, kinds.HELP)
    duty.tick()
    assert [n.event.seq for n in duty.receivers["first"].asked] == [0, 1]


def test_TP_BND_062_a_receiver_that_is_silent_holds_up_no_other(duty):
    silent, held = threading.Event(), Receiver()

    class Silent:
        def deliver(self, notice):
            silent.wait(20)
            return Delivery(UNDELIVERED)

    duty.receivers["first"] = Silent()
    for n in range(2 * escalation.AT_ONCE):
        duty.install("Asker", f"A-{n + 2}", f"hall-{n}")
        duty.alarm(0, gateway=f"hall-{n}")
    duty.running.tick()
    duty.town("Bodo")
    duty.install("Bodo", "B-1", "bath-1")
    duty.receivers["other"] = held
    escalation.set_steps(duty.centre, "Bodo", [Step("scaip", "other", "sips:other.example", MINUTE)], "Ida")
    duty.alarm(0, gateway="bath-1")
    duty.running.tick()
    deadline = time.monotonic() + 5
    while not held.asked and time.monotonic() < deadline:
        time.sleep(0.01)
    assert held.asked
    silent.set()
    duty.running.settle()


@pytest.mark.parametrize("url", ["sqlite", "postgresql"])
def test_TP_REC_009_an_answer_that_no_database_takes_harms_no_other(url, tmp_path, request):
    made = Duty(sqlite_url(tmp_path) if url == "sqlite" else request.getfixturevalue("postgres").fresh())
    made.begin()
    odd = Receiver()
    odd.deliver = lambda notice: Delivery(DELIVERED, "HTTP/2 says \0\0")
    made.receivers["first"] = odd
    made.alarm(0)
    made.running.tick()
    with contextlib.suppress(TryggError):
        made.running.settle()
    odd.deliver = lambda notice: Delivery(DELIVERED, "OK")
    for _ in range(5):
        made.later(10 * SECOND)
        with contextlib.suppress(TryggError):
            made.tick()
    assert made.went_to() == [("first", True)]
    made.running.close()
    made.close()


def fresh_server(folder, answers):
    pki.init(folder)
    return https_server(folder, answers)


def test_TP_REC_006_a_web_hook_is_signed_and_its_answer_is_what_it_says(duty, tmp_path):
    secret = tmp_path / "hook.key"
    secret.write_bytes(SECRET + b"\n")
    statuses = [204, 500, 429, 410, 302]
    with fresh_server(tmp_path / "pki", list(statuses)) as (url, asked, ca):
        hook = Webhook(url + "/alarms?a=1", secret, ca, lambda: 1_800_000_000)
        duty.alarm(0)
        duty.tick()
        notice = duty.receivers["first"].asked[0]
        outcomes = [hook.deliver(notice).outcome for _ in statuses]
        assert outcomes == [DELIVERED, UNDELIVERED, UNDELIVERED, REFUSED, UNDELIVERED]
        assert len(asked) == len(statuses)  # no redirect is followed
        method, path, headers, body = asked[0]
        assert (method, path, headers["Idempotency-Key"]) == ("POST", "/alarms?a=1", notice.ref)
        wanted = hmac.new(SECRET, b"1800000000." + body, hashlib.sha256).hexdigest()
        assert headers["Tryggport-Signature"] == f"t=1800000000,v1={wanted}"
        told = json.loads(body)
        assert (told["home"], told["kind"], told["seq"], told["ref"]) == ("A-1", "fall", 0, notice.ref)
        assert Webhook(url, secret).deliver(notice).outcome == UNDELIVERED  # a certificate nobody vouches for
        assert len(asked) == len(statuses)
    assert hook.deliver(notice).outcome == UNDELIVERED  # nobody there
    for wrong, sentence in (("http://x.example/", "is not an https"), ("nonsense", "is not an https")):
        with pytest.raises(TryggError, match=sentence):
            Webhook(wrong, secret)
    with pytest.raises(TryggError, match="cannot be read"):
        Webhook("https://x.example/", tmp_path / "none")


def test_TP_REC_009_the_dead_man_url_is_called_over_tls(tmp_path):
    with fresh_server(tmp_path / "pki", [200, 503]) as (url, asked, ca):
        pulse = canary.dead_man(url + "/alive", ca)
        pulse()
        assert [(method, path) for method, path, _, _ in asked] == [("GET", "/alive")]
        with pytest.raises(TryggError, match="HTTP 503"):
            pulse()
    with pytest.raises(TryggError, match="does not answer"):
        pulse()
    with pytest.raises(TryggError, match="is not an https"):
        canary.dead_man("http://x.example/")
