"""A world in which cases are escalated to receivers that do as they are told."""

from reception_world import MINUTE, World
from tryggport.reception import escalation
from tryggport.reception.channels import DELIVERED, UNDELIVERED, Console, Delivery
from tryggport.reception.escalation import Escalation, Step


class Receiver:
    """A centre's system as the reception meets it: answers as it is told to, and keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers) or [DELIVERED]
        self.asked = []

    def deliver(self, notice):
        self.asked.append(notice)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Delivery(answer, "busy" if answer == UNDELIVERED else "said so")

    @property
    def refs(self):
        return [notice.ref for notice in self.asked]


class Duty(World):
    """A world in which Asker's list is: first, second, console; each waits two minutes."""

    def __init__(self, url):
        super().__init__(url)
        self.receivers = {"first": Receiver(), "second": Receiver()}
        self.running = None

    def begin(self):
        self.asker = self.town("Asker")
        self.install("Asker", "A-1", "kitchen-7", cid="4711", call_back="+4712345678")
        listed = [Step("scaip", name, f"sips:{name}.example", 2 * MINUTE) for name in self.receivers]
        escalation.set_steps(self.centre, "Asker", [*listed, Step("console", "desk", "", 2 * MINUTE)], "Ida")
        self.start()

    def start(self):
        self.running = Escalation(self.db, self.channel_of, self.clock)

    def channel_of(self, step):
        return Console(self.db, self.clock) if step.kind == "console" else self.receivers[step.name]

    def tick(self, after_ms=0):
        self.later(after_ms)
        self.running.tick()
        self.running.settle()

    def restart(self):
        self.running.close()
        self.close()
        self.open()
        self.start()

    def went_to(self):
        return [(step["name"], step["delivered_ms"] is not None) for step in self.case()["escalation"]]
