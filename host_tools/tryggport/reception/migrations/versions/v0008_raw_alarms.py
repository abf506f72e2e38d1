"""The alarms of a case that are no events are looked for at each turn of the escalation."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    in_case = sa.text("case_id IS NOT NULL")
    for table in ("conflicts", "unreadable"):
        op.create_index(f"{table}_of_case", table, ["case_id"], sqlite_where=in_case, postgresql_where=in_case)
