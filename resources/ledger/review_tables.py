"""The tables of what waits: for a person's verdict, and to be shown in Dagster. The ledger's other tables are in `schema.py`."""

import sqlalchemy as sa

from resources.ledger.schema import Id, metadata

waiting_clips = sa.Table(
    "waiting_clips",
    metadata,
    sa.Column("clip", sa.String(128), primary_key=True),
    sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("decide_at", sa.Double),
    sa.Column("held_at", sa.Double),
)
"""The clips that wait for a person's verdict, and when their series' policy decides; see `waiting_clips.py`."""
sa.Index("waiting_clips_by_end", waiting_clips.c.decide_at)

unshown_verdicts = sa.Table(
    "unshown_verdicts",
    metadata,
    sa.Column("verdict_id", Id, primary_key=True),
)
"""The verdicts after which Dagster does not show the selects of their clips yet."""
