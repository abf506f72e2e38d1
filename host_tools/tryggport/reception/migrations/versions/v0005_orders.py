"""Orders to gateways and their results."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", ID, primary_key=True),
        sa.Column("gateway", sa.String(24), nullable=False),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("what", sa.Integer),
        sa.Column("envelope", sa.LargeBinary),
        sa.Column("queued_ms", sa.BigInteger, nullable=False),
        sa.Column("not_after_ms", sa.BigInteger),
        sa.Column("sent_ms", sa.BigInteger),
        sa.Column("answered_ms", sa.BigInteger),
        sa.Column("code", sa.Integer),
        sa.Column("details", sa.LargeBinary),
        sa.UniqueConstraint("gateway", "kind", "number", name="order_identity"),
    )
    is_open = sa.text("answered_ms IS NULL")
    op.create_index("open_orders", "orders", ["gateway", "id"], sqlite_where=is_open, postgresql_where=is_open)
