"""What ties the uptime of each boot to UTC."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "boots",
        sa.Column("gateway", sa.String(24), primary_key=True),
        sa.Column("epoch", sa.LargeBinary(8), primary_key=True),
        sa.Column("boot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("tie", sa.Integer, nullable=False),
        sa.Column("tied_at_ms", sa.BigInteger, nullable=False),
        sa.Column("base_ms", sa.BigInteger),
        sa.Column("latest_ms", sa.BigInteger, nullable=False),
        sa.Column("last_ms", sa.BigInteger, nullable=False),
    )
