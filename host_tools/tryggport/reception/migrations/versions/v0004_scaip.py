"""Messages on their way to the centre's own system."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "scaip_deliveries",
        sa.Column("id", ID, primary_key=True),
        sa.Column("ref", sa.String(16), nullable=False, unique=True),
        sa.Column("cid", sa.String(16), nullable=False),
        sa.Column("mty", sa.String(2), nullable=False),
        sa.Column("alarm", sa.Boolean, nullable=False),
        sa.Column("case_id", ID, sa.ForeignKey("cases.id")),
        sa.Column("xml", sa.LargeBinary, nullable=False),
        sa.Column("receivers", sa.Text, nullable=False),
        sa.Column("state", sa.String(9), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reduced", sa.Boolean, nullable=False),
        sa.Column("refused", sa.Text, nullable=False),
        sa.Column("receiver", sa.Text),
        sa.Column("snu", sa.Integer),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("done_ms", sa.BigInteger),
        sa.Column("escalated_ms", sa.BigInteger),
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index("scaip_waiting", "scaip_deliveries", ["id"], sqlite_where=waiting, postgresql_where=waiting)
