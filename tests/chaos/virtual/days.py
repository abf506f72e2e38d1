"""Virtual days of a home in bad weather; run by MicroPython, started by test_virtual_days.py.

Arguments: seed, days, what is broken on purpose (or nothing). Prints one JSON object: "failed" lists what is not as promised at
the end, "happened" counts what went wrong on the way, "trace" is what the gateway said last."""

import json
import random
import sys
import time

import board_trace
from broker import Network
from gateway import cbor, kinds
from home import Home
from reception import Reception
from world import Cut, World

_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000
_OFF_STEP_MS = 200
_PATHS = 2
_YEAR_MS = 365 * 24 * _HOUR_MS
_FAULTS = (kinds.FAULT_ACCELEROMETER, kinds.FAULT_TASK_STOPPED, kinds.FAULT_EVIDENCE_CUT)


class _Verdict:
    def __init__(self):
        self.kind = random.choice(("fallen", "fallen", "long_lie", "recovered"))
        self.evidence = [random.randint(-4000, 4000) for _ in range(random.randint(1, 300))]


class Story:
    """Everything that happens to a home; `happened` counts it by name."""

    def __init__(self, variant):
        self.world = World()
        self.networks = [Network(self.world) for _ in range(_PATHS)]
        self.brokers = [network.broker for network in self.networks]
        self.reception = Reception(self.world, self.brokers, "home-0001", Home.public_key(), variant)
        self.home = Home(self.world, self.networks, self.reception.keys())
        self.home.break_app = BROKEN.get(variant)
        self.happened = {}
        self.poison = None  # (epoch, seq) of an event that cannot arrive
        self.calm = False
        self._off_ms = 0
        time.rtc_ahead_ms = self.reception.ahead_ms

    def run(self, days):
        world = self.world
        self._people()
        self._weather()
        world.later(days * 24 * _HOUR_MS, self._be_calm)
        world.later(days * 24 * _HOUR_MS + _HOUR_MS, self._end)
        self._running = True
        while self._running:
            self.home.live()
            while self._off_ms > 0:
                self._off_ms -= _OFF_STEP_MS
                world.pass_ms(_OFF_STEP_MS)
            self._off_ms = 1000

    def _count(self, name):
        self.happened[name] = self.happened.get(name, 0) + 1

    # What the gateway is there for.

    def _people(self):
        if self.calm:
            return
        self.world.later(random.randint(1, 30) * _MINUTE_MS + random.randint(0, 60_000), self._people)
        app = self.home.app
        if app is None:
            return
        what = random.randrange(100)
        if what < 30:
            self._count("help")
            app.help_pressed()
        elif what < 50:
            self._count("fall")
            app.fall_verdict(_Verdict())
        elif what < 65:
            self._count("cancel")
            app.cancel_pressed()
        elif what < 70:
            app.fault(random.choice(_FAULTS))
        elif what < 72:
            self._count("chatter")
            self._chatter(random.randint(30, 250))
        else:
            self.home.mains ^= 1

    def _chatter(self, times):
        self.home.mains ^= 1
        if times and not self.calm:
            self.world.later(1500, lambda: self._chatter(times - 1))

    # What is in its way.

    def _weather(self):
        if self.calm:
            return
        self.world.later(random.randint(1, 60) * _MINUTE_MS, self._weather)
        name, change = random.choice(WEATHER)
        self._count(name)
        change(self)

    def _for_a_while(self, end, longest_ms):
        self.world.later(random.randint(1_000, longest_ms), end)

    def _some_of(self, paths):
        """One path, or all."""
        return random.choice([paths] + [[path] for path in paths])

    def cut_network(self):
        self._cut_networks(self._some_of(self.networks), ("cut", "silent"), 30 * _MINUTE_MS)

    def long_outage(self):
        self._cut_networks(self.networks, ("cut",), 8 * _HOUR_MS)
        self._chatter(random.randint(100, 400))
        self._lies(5)

    def lose_a_path(self):
        """For so long that only its test tells."""
        self._cut_networks([random.choice(self.networks)], ("cut", "silent"), 40 * _HOUR_MS)

    def _cut_networks(self, networks, how, longest_ms):
        for network in networks:
            network.become(random.choice(how))
            self._for_a_while(lambda network=network: network.become("good"), longest_ms)

    def restart_broker(self):
        for broker in self._some_of(self.brokers):
            broker.down = True
            broker.drop_connection()
            if random.getrandbits(1):
                broker.forget()
            self._for_a_while(lambda broker=broker: self._broker_back(broker), 10 * _MINUTE_MS)

    def _broker_back(self, broker):
        broker.down = False

    def close_reception(self):
        for broker in self._some_of(self.brokers):
            broker.listen(False)
            self._for_a_while(lambda broker=broker: broker.listen(True), 2 * _HOUR_MS)

    def bad_broker(self):
        names = ("no_puback", "lose", "refuse", "refuse_publish", "no_subscribers")
        for broker in self._some_of(self.brokers):
            self._misbehave(broker.chance, names)

    def poison_event(self):
        """One event that no broker takes, or that the reception never answers."""
        pending = self._pending()
        if self.poison or not pending:
            return
        seq, _, payload = random.choice(pending)
        self._count("poison")
        payload = bytes(payload)
        self.poison = _name_of(seq, payload)

        for taster in random.choice((self.brokers, [self.reception])):
            taster.poison = payload
        self._for_a_while(self._wholesome, 12 * _HOUR_MS)

    def _wholesome(self):
        if not self.calm:  # what is poison at the end stays poison
            self.poison = None
            for taster in self.brokers + [self.reception]:
                taster.poison = None

    def bad_receipts(self):
        self._misbehave(self.reception.chance, ("withhold", "double", "late", "busy", "quarantine", "plant", "taken"))

    def _misbehave(self, chance, names):
        for name in names:
            chance[name] = random.choice((0, 0, 50, 300, 800))
        self._for_a_while(chance.clear, _HOUR_MS)

    def old_and_false_receipts(self):
        for _ in range(random.randint(1, 6)):
            self.world.later(random.randint(0, _HOUR_MS), self.reception.repeat_old)
        self._lies(3)

    def _lies(self, count):
        for _ in range(count):
            self.world.later(random.randint(0, _HOUR_MS), self._lie)

    def _pending(self):
        """[(seq, alarm, payload)] of the gateway's journal."""
        return list(self.home.app.journal.pending(500)) if self.home.app and self.world.power else []

    def _lie(self):
        pending = self._pending()
        if pending:
            self._count("lie")
            self.reception.lie(self.home.app.journal.epoch, random.choice(pending)[0])

    def step_clock(self):
        time.rtc_ahead_ms += random.choice((-1, 1)) * _YEAR_MS

    def step_reception_clock(self):
        step = random.choice((-1, 1)) * _YEAR_MS
        self.reception.ahead_ms += step
        self._for_a_while(lambda: self._step_back(step), _HOUR_MS)

    def _step_back(self, step):
        self.reception.ahead_ms -= step

    def cut_power(self):
        """Now, at one of the next steps of the firmware, or in one of the next writes to flash."""
        self._off_ms = random.choice((200, 1000, 5_000, _MINUTE_MS, random.randint(1, 3 * _HOUR_MS)))
        how = random.randrange(4)
        if how == 0:
            self._count("cut at an instant")
            self.world.power = False
        elif how == 1:
            self._steps = random.randint(1, 60)
            board_trace.listener = self._at_step
        else:
            self._cut_flash()

    def _cut_flash(self):
        kind = random.choice(("program", "erase", "any"))
        byte = random.choice((0, 1, random.randrange(300), random.randrange(4096)))
        noise = random.getrandbits(16) * random.getrandbits(1)
        op = random.randint(0, 20) if kind != "erase" else random.randint(0, 3)
        self.home.nor.plan_cut(op, byte, kind, noise, bool(random.getrandbits(1)))

    def _at_step(self, name):
        self._steps -= 1
        if self._steps == 0:
            self._count("cut at " + name)
            self.world.power = False
            raise Cut

    # The end.

    def _be_calm(self):
        self.calm = True
        self.reception.chance.clear()
        for network in self.networks:
            network.become("good")
            network.broker.behave()
        board_trace.listener = None
        self._off_ms = 0

    def _end(self):
        app = self.home.app
        self._running = False
        self.stats = app.journal.stats() if app else None
        self.left = [_name_of(seq, payload) for seq, _, payload in self._pending()]
        self.world.power = False


WEATHER = (
    ("network cut", Story.cut_network),
    ("network cut", Story.cut_network),
    ("long outage", Story.long_outage),
    ("path lost", Story.lose_a_path),
    ("broker restarted", Story.restart_broker),
    ("reception closed", Story.close_reception),
    ("bad broker", Story.bad_broker),
    ("bad receipts", Story.bad_receipts),
    ("bad receipts", Story.bad_receipts),
    ("old and false receipts", Story.old_and_false_receipts),
    ("poison", Story.poison_event),
    ("poison", Story.poison_event),
    ("clock stepped", Story.step_clock),
    ("reception's clock stepped", Story.step_reception_clock),
    ("power cut", Story.cut_power),
    ("power cut", Story.cut_power),
    ("power cut", Story.cut_power),
)


def settle_unseen(app):
    """A gateway that believes every signed receipt."""
    app.uplink._proven = lambda ranges: [(first, last) for first, last, _ in ranges]


def settle_at_puback(app):
    """A gateway that takes the broker's word for the receiver's."""
    uplink = app.uplink
    done = uplink._done

    def hasty(message, seqs, alarm):
        done(message, seqs, alarm)
        if message.reason is not None and message.reason < 0x80:
            for seq in seqs:
                app.journal.settle(seq, seq)

    uplink._done = hasty


def use_a_seq_again(app):
    """A gateway that loses count at each power-on."""
    app.journal._log.next_seq -= 1


BROKEN = {
    "settles what it has not seen": settle_unseen,
    "settles at PUBACK": settle_at_puback,
    "forgets which seqs it used": use_a_seq_again,
}


def check(story):
    """What is not as promised, as sentences."""
    home = story.home
    failed = home.died + ["(epoch, seq) used twice: " + _name(name) for name in home.reused]
    failed += ["the home forgot in a power cut: %d %d" % alarm for alarm in home.forgotten]
    failed += list(_check_rows(story.reception, home.tried))
    failed += list(_check_kept(home.kept, story.reception.rows, story.left))
    failed += ["still pending: " + _name(name) for name in story.left if name != story.poison]
    if story.stats is None:
        failed.append("the gateway is off at the end")
    elif story.stats["dropped_ranges"]:
        failed.append("drops are not told of: %s" % story.stats)
    return failed


def _check_rows(reception, tried):
    """What is stored was appended, and stands there once."""
    for name, stored in reception.rows.items():
        for encoded in stored:
            if encoded != b"planted" and name + (encoded,) not in tried:
                yield "stored, and never appended: " + _name(name)
        if len(stored) != 1 + (name in reception.planted):
            yield "stored %d times: %s" % (len(stored), _name(name))


def _check_kept(kept, rows, left):
    """What was kept is stored or left in the journal, or, if it is no alarm, named in a drop that is stored."""
    dropped = []
    for stored in rows.values():
        event = cbor.decode(stored[-1]) if stored[-1] != b"planted" else {8: None}
        if event[8] == kinds.DROP:
            dropped.append((event[15][kinds.DATA_FIRST], event[15][kinds.DATA_LAST]))
    for name, (payload, alarm) in kept.items():
        if payload not in rows.get(name, ()) and name not in left:
            if alarm:
                yield "alarm lost: " + _name(name)
            elif not any(first <= name[1] <= last for first, last in dropped):
                yield "event neither stored nor named in a drop: " + _name(name)


def _name_of(seq, payload):
    return cbor.decode(payload)[2], seq


def _name(name):
    return "%s %d" % (name[0].hex(), name[1])


def main(seed, days, variant):
    random.seed(seed)
    story = Story(variant)
    story.run(days)
    home, reception = story.home, story.reception
    counts = dict(story.happened)
    counts.update({
        "boots": home.boots, "epochs": len({name[0] for name in home.kept}),
        "appended": len(home.kept), "alarms": sum(alarm for _, alarm in home.kept.values()),
        "cut appends": len(home.tried) - len(home.kept), "dropped": story.stats["dropped"] if story.stats else -1,
        "cut in flash": home.cuts, "receipts": reception.receipts, "duplicates": reception.duplicates, "planted": len(reception.planted),
        "unverified at the reception": reception.refused, "second path": home.arrivals[1], "poison at the end": len(story.left),
    })  # fmt: skip
    failed = check(story)
    report = {"seed": seed, "days": days, "failed": failed[:20], "failures": len(failed), "happened": counts}
    if failed:
        report["trace"] = home.trace
    print("\x1e" + json.dumps(report))


main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "")
