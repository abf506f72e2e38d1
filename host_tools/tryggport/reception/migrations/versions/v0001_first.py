"""Events, cases, status, refusals and the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "cases",
        sa.Column("id", ID, primary_key=True),
        sa.Column("gateway", sa.String(24), nullable=False),
        sa.Column("test", sa.Boolean, nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("opened_ms", sa.BigInteger, nullable=False),
        sa.Column("cancelled_ms", sa.BigInteger),
        sa.Column("taken_ms", sa.BigInteger),
        sa.Column("taken_by", sa.Text),
        sa.Column("closed_ms", sa.BigInteger),
        sa.Column("closed_by", sa.Text),
        sa.Column("cause", sa.Text),
    )
    is_open = sa.text("status != 'closed'")
    op.create_index(
        "one_open_case", "cases", ["gateway", "test"], unique=True, sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_index("cases_of_gateway", "cases", ["gateway"])
    op.create_table(
        "audit",
        sa.Column("id", ID, primary_key=True),
        sa.Column("case_id", ID, sa.ForeignKey("cases.id"), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
    )
    op.create_index("ix_audit_case_id", "audit", ["case_id"])
    op.create_table(
        "events",
        sa.Column("id", ID, primary_key=True),
        *_identified_bytes(),
        sa.Column("alarm", sa.Boolean, nullable=False),
        sa.Column("kind", sa.Integer),
        sa.Column("state", sa.Integer),
        sa.Column("ref", sa.BigInteger),
        sa.Column("test", sa.Boolean, nullable=False),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("case_id", ID, sa.ForeignKey("cases.id")),
        sa.UniqueConstraint("gateway", "epoch", "seq", name="event_identity"),
    )
    has_case = sa.text("case_id IS NOT NULL")
    op.create_index("events_of_case", "events", ["case_id"], sqlite_where=has_case, postgresql_where=has_case)
    is_loose = sa.text("alarm AND state = 2 AND case_id IS NULL")
    op.create_index("loose_clears", "events", ["gateway"], sqlite_where=is_loose, postgresql_where=is_loose)
    op.create_table(
        "conflicts",
        sa.Column("id", ID, primary_key=True),
        *_identified_bytes(),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("case_id", ID, sa.ForeignKey("cases.id")),
        sa.UniqueConstraint("gateway", "epoch", "seq", "sha256", name="conflict_bytes"),
    )
    op.create_table(
        "unreadable",
        sa.Column("id", ID, primary_key=True),
        sa.Column("gateway", sa.String(24), nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("encoded", sa.LargeBinary, nullable=False),
        sa.Column("alarm", sa.Boolean, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("copies", sa.BigInteger, nullable=False),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        sa.Column("case_id", ID, sa.ForeignKey("cases.id")),
        sa.UniqueConstraint("gateway", "sha256", name="unreadable_bytes"),
    )
    op.create_table(
        "refusals",
        sa.Column("gateway", sa.String(24), primary_key=True),
        sa.Column("reason", sa.String(24), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "statuses",
        sa.Column("gateway", sa.String(24), primary_key=True),
        sa.Column("epoch", sa.LargeBinary(8), nullable=False),
        sa.Column("boot", sa.BigInteger, nullable=False),
        sa.Column("connect", sa.BigInteger, nullable=False),
        sa.Column("online", sa.Boolean, nullable=False),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
        sa.Column("alarms", sa.BigInteger, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("uptime_ms", sa.BigInteger, nullable=False),
        sa.Column("utc_ms", sa.BigInteger),
        sa.Column("quality", sa.Integer, nullable=False),
        sa.Column("path", sa.BigInteger, nullable=False),
        sa.Column("firmware", sa.String(32), nullable=False),
        sa.Column("seen_ms", sa.BigInteger),
    )
    op.create_table(
        "outbox",
        sa.Column("id", ID, primary_key=True),
        sa.Column("case_id", ID, sa.ForeignKey("cases.id"), nullable=False),
        sa.Column("outcome", sa.Integer, nullable=False),
    )


def _identified_bytes() -> list[sa.Column[object]]:
    return [
        sa.Column("gateway", sa.String(24), nullable=False),
        sa.Column("epoch", sa.LargeBinary(8), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("encoded", sa.LargeBinary, nullable=False),
    ]
