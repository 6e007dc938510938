"""The tables of facts that all hosts share, such as the policy and the data folder. The ledger's other tables are in `schema.py`."""

import sqlalchemy as sa

from resources.ledger.schema import Id, Serial, metadata

policy = sa.Table(
    "policy",
    metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("account", Id, nullable=False),
    sa.Column("setting", sa.String(32), nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
)
"""Append-only: every statement about a cap, a limit or a settle time, as JSON; see `policy.py`. Updates and deletes are refused by
trigger."""
sa.Index("policy_by_setting", policy.c.account, policy.c.setting, policy.c.seq)

data_pushes = sa.Table(
    "data_pushes",
    metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)
"""Append-only: every `dailies data push`; the last one is current. Updates and deletes are refused by trigger."""

decision_data = sa.Table(
    "decision_data",
    metadata,
    sa.Column("decision", sa.String(128), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
)
"""The digest of each decision's data folder; see `data_pushes.py`."""

refused_hosts = sa.Table(
    "refused_hosts",
    metadata,
    sa.Column("host", sa.String(64), primary_key=True),
    sa.Column("about", sa.String(16), primary_key=True),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)
"""Hosts that may not buy, because their policy or data folder is not the one in force; see `refused_hosts.py`."""

tallies = sa.Table(
    "tallies",
    metadata,
    sa.Column("account", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), primary_key=True),
    sa.Column("purchases", sa.BigInteger, nullable=False),
)
"""How many purchases have ended in each state; see `tallies.py`."""
