"""A reception by protocols/wire.md: verifies, stores once by identity, and signs receipts for what it has stored.

`chance` names how often, of a thousand times, a receipt is withheld, doubled, late, stale, or something is answered with another
outcome; `poison` is bytes that it never answers; `variant` breaks it on purpose, so that a test can see whether anybody notices.
A receipt goes out over the path that the events came by, what becomes of an alarm over all (TP-WIR-031)."""

import hashlib
import random

from gateway import cbor, cose, kinds, p256

_SECRET = b"\x21" * 32
_STRANGER = b"\x22" * 32
_KEPT_RECEIPTS = 50
_RANGES = 40
_START_MS = 1795300000000


class Reception:
    """`rows`: {(epoch, seq): [event bytes]}; more than one where identities collided and both were kept."""

    def __init__(self, world, brokers, gateway, public65, variant=""):
        self._world, self._brokers, self._gateway, self._variant = world, brokers, gateway, variant
        self._keys = {cose.kid(public65): public65}
        self._public = p256.public_key(_SECRET)
        self._stranger = p256.public_key(_STRANGER)
        self._tables = [None, None]
        self._base = "trygg/1/%s/" % gateway
        self.rows = {}
        self.planted = set()  # what somebody else had put there under an identity before
        self.chance = {}
        self.poison = None
        self.ahead_ms = _START_MS
        self.refused = self.receipts = self.duplicates = 0
        self._sent = []
        for broker in brokers:
            broker.receiver = self.received

    def keys(self):
        """What the gateway trusts: {kid: public65}."""
        return {cose.kid(self._public): self._public}

    def _happens(self, what):
        return random.randrange(1000) < self.chance.get(what, 0)

    def received(self, topic, payload, broker):
        name = topic[len(self._base) :]
        if name not in ("alarm", "event") or (self.poison and self.poison in payload):
            return
        # The table of the last key is kept by p256; gateway and reception are two machines with one each.
        kept, p256._kept[:] = p256._kept[:], self._tables
        try:
            _, content = cose.verify1(payload, topic.encode(), self._keys)
        except cose.COSEError:
            self.refused += 1
            return
        finally:
            self._tables, p256._kept[:] = p256._kept[:], kept
        events = _split(content)
        if self._happens("busy"):
            self._answer(events, kinds.OUTCOME_RETRY_LATER, {6: random.randint(0, 120_000)}, (broker,))
            return
        self._take(events, name == "alarm", broker)

    def _take(self, events, alarm, broker):
        quarantined = self._happens("quarantine")
        answers = {}
        epochs = {cbor.decode(encoded)[2] for encoded in events}
        if len(epochs) != 1:
            raise ValueError("an envelope with events of several epochs")
        for encoded in events:
            event = cbor.decode(encoded)
            if event[1] != self._gateway or kinds.KINDS[event[8]][1] != alarm:
                raise ValueError("an event on the wrong topic")
            outcome = self._store((event[2], event[3]), encoded)
            answers.setdefault(kinds.OUTCOME_QUARANTINED if quarantined else outcome, []).append(encoded)
        for outcome, answered in answers.items():
            self._answer(answered, outcome, {}, (broker,))
        if alarm and self._happens("taken"):
            for outcome in (kinds.OUTCOME_HANDED_OVER, kinds.OUTCOME_TAKEN, kinds.OUTCOME_CLOSED):
                self._world.later(
                    random.randint(1_000, 900_000), lambda o=outcome: self._answer(events, o, {}, self._brokers)
                )

    def _store(self, name, encoded):
        rows = self.rows.get(name)
        if rows is None and self._happens("plant"):
            rows = self.rows[name] = [b"planted"]
            self.planted.add(name)
        if self._variant == "receipts before storing" and random.randrange(20) == 0:
            return kinds.OUTCOME_STORED
        if rows is None:
            self.rows[name] = [encoded]
            return kinds.OUTCOME_STORED
        if encoded in rows and self._variant != "does not know what it has":
            self.duplicates += 1
            return kinds.OUTCOME_CONFLICT if len(rows) > 1 else kinds.OUTCOME_DUPLICATE
        rows.append(encoded)
        return kinds.OUTCOME_CONFLICT

    def _answer(self, events, outcome, more, brokers):
        ranges = []
        run = []
        for encoded in events + [None]:
            seq = encoded and cbor.decode(encoded)[3]
            if run and seq != run[-1][0] + 1:
                hashes = b"".join(hashlib.sha256(e).digest() for _, e in run)
                ranges.append([run[0][0], run[-1][0], hashlib.sha256(hashes).digest()[:8]])
                run = []
            run.append((seq, encoded))
        epoch = cbor.decode(events[0])[2]
        for at in range(0, len(ranges), _RANGES):
            receipt = self._receipt(epoch, ranges[at : at + _RANGES], outcome, more)
            for broker in brokers:
                self._post(receipt, broker)

    def _receipt(self, epoch, ranges, outcome, more, secret=_SECRET):
        content = {1: self._gateway, 2: epoch, 3: ranges, 4: outcome, 5: self._world.now_ms() + self.ahead_ms}
        content.update(more)
        public = self._public if secret is _SECRET else self._stranger
        return cose.sign1(cbor.encode(content), self._base.encode() + b"receipt", secret, cose.kid(public))

    def _post(self, receipt, broker):
        self.receipts += 1
        self._sent = self._sent[1 - _KEPT_RECEIPTS :] + [receipt]
        if self._happens("withhold"):
            return
        for _ in range(1 + self._happens("double")):
            delay = random.randint(0, 300_000) if self._happens("late") else random.randint(5, 60)
            self._world.later(delay, lambda: broker.deliver(self._base + "receipt", receipt))

    def repeat_old(self):
        """Somebody brings an old receipt again."""
        if self._sent:
            random.choice(self._brokers).deliver(self._base + "receipt", random.choice(self._sent))

    def lie(self, epoch, seq):
        """Somebody without the key, and somebody with it but without the event, says that it is stored."""
        ranges = [[seq, seq, bytes(random.getrandbits(8) for _ in range(8))]]
        for secret in (_STRANGER, _SECRET):
            receipt = self._receipt(epoch, ranges, kinds.OUTCOME_STORED, {}, secret)
            for broker in self._brokers:
                broker.deliver(self._base + "receipt", receipt)


def _split(content):
    """The bytes of each event of an array."""
    content = bytes(content)
    count = content[0] & 31
    at = 1
    if count == 24:
        count, at = content[1], 2
    events = []
    for _ in range(count):
        end = cbor.item_end(content, at)
        events.append(content[at:end])
        at = end
    if content[0] >> 5 != 4 or at != len(content):
        raise ValueError("not an array of events")
    return events
