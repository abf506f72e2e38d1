"""Tables of the reception. migrations/ makes them; a test holds both together. Times are Unix time in ms."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

ID = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER is SQLite's row id
STATUS = String(8).with_variant(String(16), "postgresql")  # SQLite holds nobody to a length
NEW, TAKEN, CONTACTED, ON_THE_WAY, CLOSED = "new", "taken", "contacted", "on the way", "closed"

metadata = MetaData()

# A case belongs to one home: `home_key` names the home of an installation, or the gateway while it has none, or an outage.
# `gateway` opened it ("" for an outage, which says in `about` what it is). Held back from presentation while `present_ms`
# lies ahead. `taken_ms`: what was received by then has been seen by whoever has it; both are kept in step under the row's lock,
# for the clocks of two machines differ (the audit says when it was taken). `unanswered_ms`: the escalation list came to its end
# and nobody had taken it.
cases = Table(
    "cases",
    metadata,
    Column("id", ID, primary_key=True),
    Column("gateway", String(24), nullable=False),
    Column("test", Boolean, nullable=False),
    Column("status", STATUS, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("cancelled_ms", BigInteger),
    Column("taken_ms", BigInteger),
    Column("taken_by", Text),
    Column("closed_ms", BigInteger),
    Column("closed_by", Text),
    Column("cause", Text),
    Column("note", Text),
    Column("home_key", String(80), nullable=False, server_default=""),
    Column("municipality_id", ForeignKey("municipalities.id")),
    Column("installation_id", ForeignKey("installations.id")),
    Column("about", Text),
    Column("present_ms", BigInteger),
    Column("handed_over_ms", BigInteger),
    Column("unanswered_ms", BigInteger),
)
Index(
    "one_open_case",
    cases.c.home_key,
    cases.c.test,
    unique=True,
    sqlite_where=text("status != 'closed'"),
    postgresql_where=text("status != 'closed'"),
)
Index("cases_of_gateway", cases.c.gateway)
Index("cases_of_municipality", cases.c.municipality_id)

# Who did what when, to a case, an installation or the work list. The database itself refuses to change or delete a row.
audit = Table(
    "audit",
    metadata,
    Column("id", ID, primary_key=True),
    Column("case_id", ForeignKey("cases.id"), index=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("municipality_id", ForeignKey("municipalities.id"), index=True),
)

# The tenants. `oldest_firmware` and `untested_days` are what supervision holds their gateways to; null: its own default.
municipalities = Table(
    "municipalities",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("oldest_firmware", String(32)),
    Column("untested_days", Integer),
)

# Which gateway serves which home, from when to when; `home` is the municipality's pseudonym, never a name (TP-WIR-021).
# A row is closed, never changed: so the history stays with the home when a gateway is replaced or moves on.
installations = Table(
    "installations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("municipality_id", ForeignKey("municipalities.id"), nullable=False),
    Column("home", String(32), nullable=False),
    Column("gateway", String(24), nullable=False),
    Column("area", String(32)),
    Column("cid", String(16)),
    Column("call_back", String(32)),
    Column("from_ms", BigInteger, nullable=False),
    Column("to_ms", BigInteger),
)
Index(
    "one_home_now",
    installations.c.gateway,
    unique=True,
    sqlite_where=text("to_ms IS NULL"),
    postgresql_where=text("to_ms IS NULL"),
)
Index("installations_of_municipality", installations.c.municipality_id, installations.c.home)

# Gateways whose keys are not trusted any more: what they send is kept, shown and receipted as quarantined.
revoked = Table(
    "revoked",
    metadata,
    Column("gateway", String(24), primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("why", Text, nullable=False),
)

# Whom a municipality's cases go to, in this order. `secret_file` names the file of a webhook's key: no secret is stored here.
steps = Table(
    "steps",
    metadata,
    Column("municipality_id", ForeignKey("municipalities.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(8), nullable=False),
    Column("name", String(64), nullable=False),
    Column("target", Text, nullable=False),
    Column("secret_file", Text),
    Column("wait_ms", BigInteger, nullable=False),
)

# How far a case has come in its list; the key is why no step begins twice. A position below 0 was one of a list that the case
# goes through no more (lists.py).
escalations = Table(
    "escalations",
    metadata,
    Column("case_id", ForeignKey("cases.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", String(64), nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("delivered_ms", BigInteger),
    Column("refused", Boolean, nullable=False, server_default=false()),
)

# One alarm on its way to one step; `ref` stays the same over retries and restarts. state: waiting, delivered, refused.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", ID, primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("ref", String(16), nullable=False),
    Column("event_id", ForeignKey("events.id")),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_try_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("detail", Text),
    UniqueConstraint("case_id", "position", "ref", name="delivery_once"),
)
Index(
    "deliveries_waiting",
    deliveries.c.next_try_ms,
    sqlite_where=text("state = 'waiting'"),
    postgresql_where=text("state = 'waiting'"),
)

# Who looks at the cases just now, and until when that is believed without another sign; null municipality: of all.
watchers = Table(
    "watchers",
    metadata,
    Column("who", String(64), primary_key=True),
    Column("municipality_id", ForeignKey("municipalities.id")),
    Column("until_ms", BigInteger, nullable=False),
)

# What somebody must do. A row appears when it is found (`first_ms`), is shown from `shown_ms` on, and is over at `mended_ms`.
# `finding` names what it is about, so that it is open once.
work = Table(
    "work",
    metadata,
    Column("id", ID, primary_key=True),
    Column("finding", String(120), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("municipality_id", ForeignKey("municipalities.id")),
    Column("home", String(32)),
    Column("gateway", String(24)),
    Column("sentence", Text, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("shown_ms", BigInteger),
    Column("mended_ms", BigInteger),
)
Index(
    "one_open_finding",
    work.c.finding,
    unique=True,
    sqlite_where=text("mended_ms IS NULL"),
    postgresql_where=text("mended_ms IS NULL"),
)

# Sessions that gave signs of life. One that speaks again after a later one began, or whose uptime runs backwards, returned:
# `returns` counts it, and a gateway whose sessions return has a copy somewhere.
sessions = Table(
    "sessions",
    metadata,
    Column("gateway", String(24), primary_key=True),
    Column("path", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", LargeBinary(8), primary_key=True),
    Column("boot", BigInteger, primary_key=True, autoincrement=False),
    Column("connect", BigInteger, primary_key=True, autoincrement=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("uptime_ms", BigInteger, nullable=False),
    Column("returns", Integer, nullable=False),
    Column("returned_ms", BigInteger),
)

# How far an epoch has arrived without a gap: `first` is its first seq, everything below `complete_to` is here or was dropped.
progress = Table(
    "progress",
    metadata,
    Column("gateway", String(24), primary_key=True),
    Column("epoch", LargeBinary(8), primary_key=True),
    Column("first", BigInteger, nullable=False),
    Column("complete_to", BigInteger, nullable=False),
)

# What gateways say is wrong with them and have not taken back; `fault` is 0 for kinds without one.
conditions = Table(
    "conditions",
    metadata,
    Column("gateway", String(24), primary_key=True),
    Column("kind", Integer, primary_key=True, autoincrement=False),
    Column("fault", Integer, primary_key=True, autoincrement=False),
    Column("sensor", String(16), primary_key=True),
    Column("epoch", LargeBinary(8), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("boot", BigInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
)

# When each part of the reception last worked: canary, supervision.
vitals = Table(
    "vitals",
    metadata,
    Column("name", String(16), primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),
)

# The identity (TP-WIR-006) names one row for ever. `kind` is null where only the identity could be read.
events = Table(
    "events",
    metadata,
    Column("id", ID, primary_key=True),
    Column("gateway", String(24), nullable=False),
    Column("epoch", LargeBinary(8), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("encoded", LargeBinary, nullable=False),
    Column("alarm", Boolean, nullable=False),
    Column("kind", Integer),
    Column("state", Integer),
    Column("ref", BigInteger),
    Column("test", Boolean, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("case_id", ForeignKey("cases.id")),
    Column("municipality_id", ForeignKey("municipalities.id")),
    UniqueConstraint("gateway", "epoch", "seq", name="event_identity"),
)

Index(
    "events_of_case",
    events.c.case_id,
    sqlite_where=text("case_id IS NOT NULL"),
    postgresql_where=text("case_id IS NOT NULL"),
)
Index(
    "loose_clears",
    events.c.gateway,
    sqlite_where=text("alarm AND state = 2 AND case_id IS NULL"),
    postgresql_where=text("alarm AND state = 2 AND case_id IS NULL"),
)

Index(
    "alarms_by_gateway",
    events.c.gateway,
    events.c.received_ms,
    sqlite_where=text("alarm"),
    postgresql_where=text("alarm"),
)

# What ties a boot's uptime to UTC; dating.py says how. `tied_at_ms`: uptime of the event that said `base_ms`, the UTC at uptime 0.
# `latest_ms`: what that UTC is at the latest, by when the events were received; `last_ms`: the highest uptime of an event.
boots = Table(
    "boots",
    metadata,
    Column("gateway", String(24), primary_key=True),
    Column("epoch", LargeBinary(8), primary_key=True),
    Column("boot", BigInteger, primary_key=True),
    Column("tie", Integer, nullable=False),
    Column("tied_at_ms", BigInteger, nullable=False),
    Column("base_ms", BigInteger),
    Column("latest_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
)

# Other bytes under an identity that is taken (TP-WIR-014).
conflicts = Table(
    "conflicts",
    metadata,
    Column("id", ID, primary_key=True),
    Column("gateway", String(24), nullable=False),
    Column("epoch", LargeBinary(8), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("encoded", LargeBinary, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("case_id", ForeignKey("cases.id")),
    Column("municipality_id", ForeignKey("municipalities.id")),
    UniqueConstraint("gateway", "epoch", "seq", "sha256", name="conflict_bytes"),
)

# Authentic payloads without a readable identity (TP-WIR-017); `copies` counts how often each came.
unreadable = Table(
    "unreadable",
    metadata,
    Column("id", ID, primary_key=True),
    Column("gateway", String(24), nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("encoded", LargeBinary, nullable=False),
    Column("alarm", Boolean, nullable=False),
    Column("why", Text, nullable=False),
    Column("copies", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("case_id", ForeignKey("cases.id")),
    Column("municipality_id", ForeignKey("municipalities.id")),
    UniqueConstraint("gateway", "sha256", name="unreadable_bytes"),
)

for _table in (conflicts, unreadable):
    Index(
        f"{_table.name}_of_case",
        _table.c.case_id,
        sqlite_where=text("case_id IS NOT NULL"),
        postgresql_where=text("case_id IS NOT NULL"),
    )

# Envelopes that were refused (TP-WIR-004); gateways that nobody registered share the row with the empty name.
refusals = Table(
    "refusals",
    metadata,
    Column("gateway", String(24), primary_key=True),
    Column("reason", String(24), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
)

# The last status of each gateway over each path; `seen_ms` is null while only a retained copy has been seen (TP-WIR-018).
statuses = Table(
    "statuses",
    metadata,
    Column("gateway", String(24), primary_key=True),
    Column("path", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", LargeBinary(8), nullable=False),
    Column("boot", BigInteger, nullable=False),
    Column("connect", BigInteger, nullable=False),
    Column("online", Boolean, nullable=False),
    Column("next_seq", BigInteger, nullable=False),
    Column("alarms", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("uptime_ms", BigInteger, nullable=False),
    Column("utc_ms", BigInteger),
    Column("quality", Integer, nullable=False),
    Column("firmware", String(32), nullable=False),
    Column("seen_ms", BigInteger),
)

# Outcomes of cases that a gateway is still to be told; a row goes when the broker has acknowledged its receipt.
outbox = Table(
    "outbox",
    metadata,
    Column("id", ID, primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False),
    Column("outcome", Integer, nullable=False),
    Column("gateway", String(24), nullable=False, server_default=""),
)

# Orders to gateways and their results; `number` is a command's counter or a version. Without an envelope: a result that came
# to a database that does not know its order. `kind`, `what` and `code` are those of wire/order.py.
orders = Table(
    "orders",
    metadata,
    Column("id", ID, primary_key=True),
    Column("gateway", String(24), nullable=False),
    Column("kind", Integer, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("what", Integer),
    Column("envelope", LargeBinary),
    Column("queued_ms", BigInteger, nullable=False),
    Column("not_after_ms", BigInteger),
    Column("sent_ms", BigInteger),
    Column("answered_ms", BigInteger),
    Column("code", Integer),
    Column("details", LargeBinary),
    UniqueConstraint("gateway", "kind", "number", name="order_identity"),
)
Index(
    "open_orders",
    orders.c.gateway,
    orders.c.id,
    sqlite_where=text("answered_ms IS NULL"),
    postgresql_where=text("answered_ms IS NULL"),
)
