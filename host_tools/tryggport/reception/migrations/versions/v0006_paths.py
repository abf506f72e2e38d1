"""The last status of a gateway is kept for each path."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

COLUMNS = [
    "gateway", "path", "epoch", "boot", "connect", "online", "next_seq", "alarms", "events", "uptime_ms", "utc_ms", "quality",
    "firmware", "seen_ms",
]  # fmt: skip


def upgrade() -> None:
    op.create_table(
        "statuses_by_path",
        sa.Column("gateway", sa.String(24), primary_key=True),
        sa.Column("path", sa.BigInteger, primary_key=True, autoincrement=False),
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
        sa.Column("firmware", sa.String(32), nullable=False),
        sa.Column("seen_ms", sa.BigInteger),
    )
    old, new = (sa.table(name, *map(sa.column, COLUMNS)) for name in ("statuses", "statuses_by_path"))
    op.execute(new.insert().from_select(COLUMNS, sa.select(*old.c)))
    op.drop_table("statuses")
    op.rename_table("statuses_by_path", "statuses")
