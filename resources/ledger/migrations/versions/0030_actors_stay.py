"""Expand: the table of actors is append-only, since the journal's names and runs are in it.

Revision: 0030
"""

from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Let nobody change or remove an actor. Older programs only add actors."""
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER actors_refuse_{verb.lower()} BEFORE {verb} ON actors "
                "BEGIN SELECT RAISE(ABORT, 'actors are append-only'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION actors_are_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'actors are append-only'; END $$"
        )
        op.execute(
            "CREATE TRIGGER actors_refuse_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON actors "
            "FOR EACH STATEMENT EXECUTE FUNCTION actors_are_append_only()"
        )
