"""What the tests of the reception's model share: a database, a clock that only they move, and gateways' words in it."""

from pathlib import Path

from sqlalchemy import select
from tryggport.reception import installations, open_database, store, tenants, views
from tryggport.reception.installations import Placement
from tryggport.reception.schema import audit, work
from tryggport.reception.wording import words
from tryggport.wire import kinds
from tryggport.wire.event import Event
from tryggport.wire.status import Status

EPOCH = bytes.fromhex("0123456789abcdef")
START_MS = 1_800_000_000_000
NORWEGIAN = words("nb")
SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


class World:
    """A database and its centre. `now_ms` is the time of all that happens."""

    def __init__(self, url):
        self.url = url
        self.now_ms = START_MS
        self.open()

    def open(self):
        self.db = open_database(self.url)
        self.centre = tenants.centre(self.db)

    def close(self):
        """Whatever a test has made the reception say, it can say in Norwegian."""
        with self.db.read() as tx:
            said = {*tx.execute(select(work.c.sentence)).scalars()}
            said |= {*tx.execute(select(audit.c.what).where(audit.c.case_id.is_not(None))).scalars()}
        self.db.close()
        assert {text for text in said if not NORWEGIAN.knows(text)} == set()

    def clock(self):
        return self.now_ms

    def later(self, ms):
        self.now_ms += ms

    def town(self, name, **wishes):
        installations.add_municipality(self.centre, name, "Ida at IT", **wishes)
        return tenants.municipality(self.db, name)

    def install(self, town, home, gateway, **more):
        placement = Placement(home=home, gateway=gateway, **more)
        return installations.assign(self.centre, town, placement, "Ida at IT", self.now_ms)

    def event(self, seq, kind=kinds.FALL, gateway="kitchen-7", **fields):
        values = {"boot": 1, "uptime_ms": seq * 1000, "severity": 3, "epoch": EPOCH} | fields
        return Event.from_bytes(Event(gateway=gateway, seq=seq, kind=kind, **values).to_bytes())

    def arrive(self, *events, alarm=True):
        return store.commit(self.db, [store.Arrival(e.gateway, alarm, e) for e in events], [], self.now_ms)

    def alarm(self, seq, kind=kinds.FALL, gateway="kitchen-7", **fields):
        return self.arrive(self.event(seq, kind, gateway, **fields))

    def say(self, gateway="kitchen-7", *, retained=False, **fields):
        values = {"epoch": EPOCH, "boot": 1, "connect": 1, "next_seq": 0, "alarms": 0, "events": 0, "online": True}
        values |= {"uptime_ms": self.now_ms - START_MS, "firmware": "0.3.0"} | fields
        store.commit(self.db, [], [(Status(gateway=gateway, **values), retained)], self.now_ms)

    def told(self):
        """What gateways are to be told, which is then forgotten."""
        rows = store.to_tell(self.db, ())
        store.forget_told(self.db, [row.outbox_id for row in rows])
        return [(r.gateway, r.outcome, sorted(seq for hashes in r.hashes.values() for seq in hashes)) for r in rows]

    def cases(self, scope=None, **options):
        return views.list_cases(scope or self.centre, **options)

    def case(self, case_id=1):
        return views.show_case(self.centre, case_id)

    def history(self, case_id=1):
        return [line["what"] for line in self.case(case_id)["history"]]


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'reception.db'}"
