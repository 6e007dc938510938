"""Verdicts of people on takes.

Revision: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

Id = sa.String(64)
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables, and let nobody change a verdict."""
    op.create_table(
        "verdicts",
        sa.Column("seq", Serial, primary_key=True, autoincrement=True),
        sa.Column("id", Id, nullable=False, unique=True),
        sa.Column("clip", sa.String(128), nullable=False),
        sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), nullable=False),
        sa.Column("word", sa.String(16), nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("second", sa.Double),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("way", sa.String(16), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("verdicts_by_clip", "verdicts", ["clip", "seq"])
    op.create_table(
        "take_verdicts",
        sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), primary_key=True),
        sa.Column("clip", sa.String(128), nullable=False),
        sa.Column("verdict_id", Id, nullable=False),
        sa.Column("word", sa.String(16), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    circled = sa.text("word = 'circled'")
    op.create_index(
        "one_circled_take_per_clip",
        "take_verdicts",
        ["clip"],
        unique=True,
        sqlite_where=circled,
        postgresql_where=circled,
    )
    op.create_index("take_verdicts_by_clip", "take_verdicts", ["clip"])
    op.create_table("unstored_verdicts", sa.Column("verdict_id", Id, primary_key=True))
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER verdicts_refuse_{verb.lower()} BEFORE {verb} ON verdicts "
                "BEGIN SELECT RAISE(ABORT, 'verdicts are append-only'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION verdicts_are_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'verdicts are append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER verdicts_refuse_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON verdicts "
            "FOR EACH STATEMENT EXECUTE FUNCTION verdicts_are_append_only()"
        )
