"""A broker of MQTT 5 for one gateway, as bad as the network that leads to it. Written against the standard, for one client.

It keeps the client's session and what waits for it; `forget` is a restart without persistence. `chance` names how often, of a
thousand times, each misbehaviour happens; `poison` is bytes that it cannot stand: it closes the connection that brings them."""

import random

_RECEIVE_MAXIMUM = 16  # what the gateway asks for
_MAX_WAITING = 200
_MAX_HELD = 1000
_REFUSALS = (0x87, 0x97, 0x83)
_NOT_NOW = (0x88, 0x89, 0x97)


class Stream:
    """The gateway's end of a connection: what an opener returns."""

    def __init__(self, network):
        self._network = network
        self._incoming = bytearray()
        self._due_ms = [0, 0]  # of what was sent last: nothing overtakes
        self.open = True

    def ready(self):
        return bool(self._incoming) or not self.open

    def readinto(self, buf):
        if not self._incoming:
            return None if self.open else 0
        n = min(len(buf), len(self._incoming))
        buf[:n] = self._incoming[:n]
        self._incoming = self._incoming[n:]
        return n

    def write(self, view):
        if not self.open:
            raise OSError(104)
        self.carry(0, bytes(view), self._network.broker.received)
        return len(view)

    def send(self, data):
        """From the broker to the gateway."""
        self.carry(1, data, _arrive)

    def carry(self, direction, data, deliver):
        network = self._network
        now = network.world.now_ms()
        due = self._due_ms[direction] = max(now + network.delay_ms(), self._due_ms[direction])
        network.world.later(due - now, lambda: self.open and network.carries() and deliver(self, data))

    def hear(self, data):
        self._incoming += data
        self._network.world.heard(self)

    def close(self):
        """By either end."""
        self.open = False
        self._network.world.heard(self)


def _arrive(stream, data):
    stream.hear(data)


class Network:
    """`state`: "good", "cut" (everybody notices) or "silent" (nobody does). What is lost on a silent one stays lost, so a
    connection that has seen one is dead for good."""

    def __init__(self, world):
        self.world = world
        self.broker = Broker(self)
        self.state = "good"
        self._slow_ms = 40

    def delay_ms(self):
        return random.randint(5, self._slow_ms)

    def carries(self):
        return self.state == "good"

    def become(self, state):
        self.state = state
        stream = self.broker.stream
        if stream:
            self.broker.stream = None
            if state != "silent":
                stream.close()

    def power_cut(self):
        """The gateway is gone without a word; the broker notices when it comes back."""
        if self.broker.stream:
            self.broker.stream.open = False

    async def open(self, attempt):
        """The MQTT client's opener."""
        import asyncio

        await asyncio.sleep_ms(4 * self.delay_ms())
        if self.state == "silent" or self.broker.down:
            await asyncio.sleep_ms(3_600_000)
        if self.state == "cut":
            raise OSError(113)
        return Stream(self)


class Broker:
    """`receiver(topic, payload, broker)`: takes what the gateway published; `deliver` brings it a receipt."""

    def __init__(self, network):
        self._network = network
        self.receiver = None
        self.listening = True  # the receiver; what comes meanwhile is held
        self.stream = None
        self.down = False
        self.chance = {}
        self.poison = None
        self._held = []
        self.forget()

    def forget(self):
        """Nothing of the client's session is left."""
        self._known = self._subscribed = False
        self._waiting = []  # [packet identifier or 0, topic, payload]
        self._pid = 0
        self._data = b""
        self.drop_connection()

    def drop_connection(self):
        if self.stream:
            stream, self.stream = self.stream, None
            stream.close()

    def _happens(self, what):
        return random.randrange(1000) < self.chance.get(what, 0)

    # From the gateway.

    def received(self, stream, data):
        if self.down:
            return
        if stream is not self.stream:
            if data[0] != 0x10:
                return  # what an old connection had still to say
            self.drop_connection()
            self.stream, self._data = stream, b""
        self._data += data
        while self.stream is stream:
            size, start = _length(self._data)
            if start is None or len(self._data) < start + size:
                return
            first, body = self._data[0], self._data[start : start + size]
            self._data = self._data[start + size :]
            self._packet(first, body)

    def _packet(self, first, body):
        kind = first & 0xF0
        if kind == 0x10:
            self._connect(body)
        elif kind == 0x30:
            self._publish(first, body)
        elif kind == 0x40:
            pid = body[0] << 8 | body[1]
            self._waiting = [entry for entry in self._waiting if entry[0] != pid]
            self._pump()
        elif kind == 0x80:
            self._subscribed = True
            self._send(b"\x90\x04" + body[:2] + b"\0\1")
            self._pump()
        elif kind == 0xC0:
            self._send(b"\xd0\0")
        elif kind == 0xE0:
            self.drop_connection()

    def _connect(self, body):
        if self._happens("refuse"):
            self._send(b"\x20\3\0" + bytes((random.choice(_NOT_NOW),)) + b"\0")
            self.drop_connection()
            return
        if body[7] & 2:  # clean start
            self._known = self._subscribed = False
            self._waiting = []
        self._send(b"\x20\3" + bytes((self._known,)) + b"\0\0")
        self._known = True
        for entry in self._waiting:
            entry[0] = -entry[0]  # again, with its identifier
        self._pump()

    def _publish(self, first, body):
        end = 2 + (body[0] << 8 | body[1])
        topic = body[2:end].decode()
        pid = body[end : end + 2]
        size, start = _length(b"\0" + body[end + 2 : end + 6])
        payload = body[end + 1 + start + size :]
        if not first & 2:
            raise ValueError("published at QoS 0")
        if self.poison and self.poison in payload:
            self.drop_connection()
            return
        if self._happens("refuse_publish"):
            self._send(b"\x40\4" + pid + bytes((random.choice(_REFUSALS), 0)))
            return
        if not self._happens("lose"):  # a broker may acknowledge and lose
            self._take(topic, payload)
        if not self._happens("no_puback"):
            self._send(b"\x40\4" + pid + (b"\x10\0" if self._happens("no_subscribers") else b"\0\0"))

    def _take(self, topic, payload):
        if not self.listening:
            if len(self._held) < _MAX_HELD:
                self._held.append((topic, payload))
            return
        self._network.world.later(self._network.delay_ms(), lambda: self.receiver(topic, payload, self))

    def behave(self):
        """Does what it should from now on."""
        self.chance.clear()
        self.down = False
        self.listen(True)

    def listen(self, listening):
        """The receiver comes or goes; when it comes, it is given what was held."""
        self.listening = listening
        held, self._held = self._held if listening else [], [] if listening else self._held
        for topic, payload in held:
            self._take(topic, payload)

    # To the gateway.

    def deliver(self, topic, payload):
        """Publishes at QoS 1 to the gateway, now or when it is back; lost when too much waits."""
        if self._known and len(self._waiting) < _MAX_WAITING:
            self._waiting.append([0, topic, payload])
            self._pump()

    def _pump(self):
        if self.stream and self._subscribed and not self.down:
            flying = sum(entry[0] > 0 for entry in self._waiting)
            for entry in self._waiting:
                if flying >= _RECEIVE_MAXIMUM:
                    return
                if entry[0] <= 0:
                    flying += 1
                    self._send_message(entry)

    def _send_message(self, entry):
        again = entry[0] < 0
        if again:
            entry[0] = -entry[0]
        else:
            self._pid = self._pid % 65535 + 1
            entry[0] = self._pid
        topic = entry[1].encode()
        body = bytes((0, len(topic))) + topic + bytes((entry[0] >> 8, entry[0] & 255, 0)) + entry[2]
        size = len(body)
        self._send(bytes((0x3A if again else 0x32, size & 127 | 128, size >> 7)) + body)

    def _send(self, packet):
        if self.stream:
            self.stream.send(packet)


def _length(data):
    """(remaining length, offset of the body) of the packet at the start of `data`; the offset is None when that is cut."""
    size = 0
    for i in range(1, min(len(data), 5)):
        size |= (data[i] & 127) << 7 * (i - 1)
        if data[i] < 128:
            return size, i + 1
    return 0, None
