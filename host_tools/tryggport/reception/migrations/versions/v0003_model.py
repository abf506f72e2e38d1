"""Municipalities, homes, grace, escalation, supervision; an audit that only grows."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
IS_OPEN = sa.text("status != 'closed'")
NO_CHANGE = ("update", "delete")


def upgrade() -> None:
    _make_tenants()
    _extend_cases()
    _extend_arrivals()
    _extend_audit()
    _make_escalation()
    _make_supervision()


def _make_tenants() -> None:
    op.create_table(
        "municipalities",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("oldest_firmware", sa.String(32)),
        sa.Column("untested_days", sa.Integer),
    )
    op.create_table(
        "installations",
        sa.Column("id", ID, primary_key=True),
        _municipality(nullable=False),
        sa.Column("home", sa.String(32), nullable=False),
        sa.Column("gateway", sa.String(24), nullable=False),
        sa.Column("area", sa.String(32)),
        sa.Column("cid", sa.String(16)),
        sa.Column("call_back", sa.String(32)),
        sa.Column("from_ms", sa.BigInteger, nullable=False),
        sa.Column("to_ms", sa.BigInteger),
    )
    _partial_index("one_home_now", "installations", ["gateway"], "to_ms IS NULL", unique=True)
    op.create_index("installations_of_municipality", "installations", ["municipality_id", "home"])
    op.create_table(
        "revoked",
        sa.Column("gateway", sa.String(24), primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
    )


def _extend_cases() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("cases", "status", type_=sa.String(16))
    _refer("cases", "municipality_id", "municipalities")
    _refer("cases", "installation_id", "installations")
    op.add_column("cases", sa.Column("note", sa.Text))
    op.add_column("cases", sa.Column("home_key", sa.String(80), nullable=False, server_default=""))
    op.add_column("cases", sa.Column("about", sa.Text))
    for name in ("present_ms", "handed_over_ms", "unanswered_ms"):
        op.add_column("cases", sa.Column(name, sa.BigInteger))
    op.execute("UPDATE cases SET home_key = gateway")
    op.drop_index("one_open_case", "cases")
    _partial_index("one_open_case", "cases", ["home_key", "test"], IS_OPEN.text, unique=True)
    op.create_index("cases_of_municipality", "cases", ["municipality_id"])
    op.add_column("outbox", sa.Column("gateway", sa.String(24), nullable=False, server_default=""))
    op.execute("UPDATE outbox SET gateway = (SELECT gateway FROM cases WHERE cases.id = outbox.case_id)")


def _extend_arrivals() -> None:
    for table in ("events", "conflicts", "unreadable"):
        _refer(table, "municipality_id", "municipalities")
    _partial_index("alarms_by_gateway", "events", ["gateway", "received_ms"], "alarm")


def _extend_audit() -> None:
    with op.batch_alter_table("audit") as batch:
        batch.alter_column("case_id", existing_type=ID, nullable=True)
    _refer("audit", "municipality_id", "municipalities")
    op.add_column("audit", sa.Column("before", sa.Text))
    op.add_column("audit", sa.Column("after", sa.Text))
    op.create_index("ix_audit_municipality_id", "audit", ["municipality_id"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_only_grows() RETURNS trigger AS "
            "$$ BEGIN RAISE EXCEPTION 'the audit only grows'; END $$ LANGUAGE plpgsql"
        )
        op.execute(
            "CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE ON audit EXECUTE FUNCTION audit_only_grows()"
        )
    else:
        for change in NO_CHANGE:
            op.execute(
                f"CREATE TRIGGER audit_no_{change} BEFORE {change.upper()} ON audit "
                "BEGIN SELECT RAISE(ABORT, 'the audit only grows'); END"
            )


def _make_escalation() -> None:
    op.create_table(
        "steps",
        _municipality(primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("secret_file", sa.Text),
        sa.Column("wait_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "escalations",
        sa.Column("case_id", ID, sa.ForeignKey("cases.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("started_ms", sa.BigInteger, nullable=False),
        sa.Column("delivered_ms", sa.BigInteger),
        sa.Column("refused", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", ID, primary_key=True),
        sa.Column("case_id", ID, sa.ForeignKey("cases.id"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("ref", sa.String(16), nullable=False),
        sa.Column("event_id", ID, sa.ForeignKey("events.id")),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_try_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("detail", sa.Text),
        sa.UniqueConstraint("case_id", "position", "ref", name="delivery_once"),
    )
    _partial_index("deliveries_waiting", "deliveries", ["next_try_ms"], "state = 'waiting'")
    op.create_table(
        "watchers",
        sa.Column("who", sa.String(64), primary_key=True),
        _municipality(),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
    )


def _make_supervision() -> None:
    op.create_table(
        "work",
        sa.Column("id", ID, primary_key=True),
        sa.Column("finding", sa.String(120), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        _municipality(),
        sa.Column("home", sa.String(32)),
        sa.Column("gateway", sa.String(24)),
        sa.Column("sentence", sa.Text, nullable=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("shown_ms", sa.BigInteger),
        sa.Column("mended_ms", sa.BigInteger),
    )
    _partial_index("one_open_finding", "work", ["finding"], "mended_ms IS NULL", unique=True)
    op.create_table(
        "sessions",
        sa.Column("gateway", sa.String(24), primary_key=True),
        sa.Column("path", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.LargeBinary(8), primary_key=True),
        sa.Column("boot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("connect", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("first_ms", sa.BigInteger, nullable=False),
        sa.Column("seen_ms", sa.BigInteger, nullable=False),
        sa.Column("uptime_ms", sa.BigInteger, nullable=False),
        sa.Column("returns", sa.Integer, nullable=False),
        sa.Column("returned_ms", sa.BigInteger),
    )
    op.create_table(
        "progress",
        sa.Column("gateway", sa.String(24), primary_key=True),
        sa.Column("epoch", sa.LargeBinary(8), primary_key=True),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("complete_to", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "conditions",
        sa.Column("gateway", sa.String(24), primary_key=True),
        sa.Column("kind", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("fault", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sensor", sa.String(16), primary_key=True),
        sa.Column("epoch", sa.LargeBinary(8), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("boot", sa.BigInteger, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "vitals",
        sa.Column("name", sa.String(16), primary_key=True),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )


def _municipality(*, nullable: bool = True, primary_key: bool = False) -> sa.Column[int]:
    column = sa.ForeignKey("municipalities.id")
    return sa.Column("municipality_id", ID, column, nullable=nullable and not primary_key, primary_key=primary_key)


def _refer(table: str, column: str, to: str) -> None:
    """Alembic adds no column with a reference to a table of SQLite; this statement does so in both databases."""
    kind = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    op.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind} REFERENCES {to} (id)")


def _partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)
