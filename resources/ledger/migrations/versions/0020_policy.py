"""The policy: caps, limits and settle times as facts of the ledger.

Revision: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table, and let nobody change its history. Nothing is in force until a host says something."""
    op.create_table(
        "policy",
        sa.Column("seq", Serial, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(64), nullable=False),
        sa.Column("setting", sa.String(32), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
    )
    op.create_index("policy_by_setting", "policy", ["account", "setting", "seq"])
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER policy_refuses_{verb.lower()} BEFORE {verb} ON policy "
                "BEGIN SELECT RAISE(ABORT, 'the policy is append-only'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION policy_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the policy is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER policy_refuses_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON policy "
            "FOR EACH STATEMENT EXECUTE FUNCTION policy_is_append_only()"
        )
