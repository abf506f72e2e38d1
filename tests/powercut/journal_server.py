"""A journal on modelled flash behind stdin and stdout, for the state machine: one JSON request a line, one answer a line.

Run by MicroPython. {"do": name, ...} is answered by {"value": ...}, {"cut": true} after a power cut (the journal is gone
then: send "open"), {"error": name}, or {"bug": trace}.
"""

import io
import json
import sys

from gateway.journal import Journal
from nor import BlockDevice, Nor, PowerCut


class Server:
    def __init__(self):
        self.nor = self.journal = None
        self._epochs = 0

    def flash(self, blocks, key):
        self.nor = Nor(blocks * 4096, strict=True, key=bytes(i * key & 0xFF for i in range(251)) if key else b"")
        self._epochs = 0

    def open(self):
        self.journal = Journal(BlockDevice(self.nor), rng=self._rng)
        return [self.journal.epoch.hex(), self.journal.next_seq, self.journal.boot]

    def _rng(self, n):
        self._epochs += 1  # a story must repeat itself
        return self._epochs.to_bytes(n, "big")

    def append(self, payload, alarm, rank, source):
        return self.journal.append(payload.encode(), alarm, rank=rank, source=source)

    def settle(self, first, last):
        self.journal.settle(first, last)

    def pending(self, limit):
        return [[seq, alarm, payload.decode()] for seq, alarm, payload in self.journal.pending(limit)]

    def read(self, seq):
        payload = self.journal.read(seq)
        return payload and payload.decode()

    def stats(self):
        return self.journal.stats()

    def idle(self):
        return self.journal.idle()

    def cut(self, op, byte, kind, noise, weak):
        self.nor.plan_cut(op, byte, kind, noise, weak)

    def power_off(self):
        """Between two operations."""
        self.nor.power_on()

    def kill(self, block, how):
        self.nor.kill_block(block, how)


def main():
    server = Server()
    while True:
        line = sys.stdin.readline()
        if not line:
            return
        request = json.loads(line)
        try:
            answer = {"value": getattr(server, request.pop("do"))(**request)}
        except PowerCut:
            server.nor.power_on()
            answer = {"cut": True}
        except ValueError:
            answer = {"error": "ValueError"}
        except Exception as e:
            trace = io.StringIO()
            sys.print_exception(e, trace)
            answer = {"bug": trace.getvalue()}
        print(json.dumps(answer))


main()
