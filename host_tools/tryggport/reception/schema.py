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
    text,
)

ID = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER is SQLite's row id
NEW, TAKEN, CLOSED = "new", "taken", "closed"

metadata = MetaData()

cases = Table(
    "cases",
    metadata,
    Column("id", ID, primary_key=True),
    Column("gateway", String(24), nullable=False),
    Column("test", Boolean, nullable=False),
    Column("status", String(8), nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("cancelled_ms", BigInteger),
    Column("taken_ms", BigInteger),
    Column("taken_by", Text),
    Column("closed_ms", BigInteger),
    Column("closed_by", Text),
    Column("cause", Text),
)
Index(
    "one_open_case",
    cases.c.gateway,
    cases.c.test,
    unique=True,
    sqlite_where=text("status != 'closed'"),
    postgresql_where=text("status != 'closed'"),
)
Index("cases_of_gateway", cases.c.gateway)

audit = Table(
    "audit",
    metadata,
    Column("id", ID, primary_key=True),
    Column("case_id", ForeignKey("cases.id"), nullable=False, index=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
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
    UniqueConstraint("gateway", "sha256", name="unreadable_bytes"),
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
)
