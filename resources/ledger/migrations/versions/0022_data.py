"""The data folder: which one is current, and of which one each decision was made.

Revision: 0022
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables, and let nobody change the history of the folder. No folder is current until one is pushed."""
    op.create_table(
        "data_pushes",
        sa.Column("seq", Serial, primary_key=True, autoincrement=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("files", sa.Integer, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_table(
        "decision_data",
        sa.Column("decision", sa.String(128), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER data_pushes_refuse_{verb.lower()} BEFORE {verb} ON data_pushes "
                "BEGIN SELECT RAISE(ABORT, 'data_pushes is append-only'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION data_pushes_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'data_pushes is append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER data_pushes_refuse_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON data_pushes "
            "FOR EACH STATEMENT EXECUTE FUNCTION data_pushes_is_append_only()"
        )
