"""The history of the policy: every statement about caps, limits and settle times, with its time and author. It is append-only."""

import json
import socket

import sqlalchemy as sa

from resources.errors import ConfigurationError
from resources.ledger import refused_hosts
from resources.ledger.database import lock_money
from resources.ledger.ledger import Ledger
from resources.ledger.policy import InForce, PolicyChange, PolicyEntry, entry_of, newest
from resources.ledger.policy_settings import Policy
from resources.ledger.refused_hosts import About
from resources.ledger.shared_tables import policy as entries


def in_force(ledger: Ledger) -> InForce:
    """Read the policy in force, in its own transaction."""
    with ledger.read() as connection:
        return ledger.policy.read(connection)


def history(ledger: Ledger) -> list[PolicyEntry]:
    """Every statement, oldest first."""
    with ledger.read() as connection:
        return [entry_of(row) for row in connection.execute(sa.select(entries).order_by(entries.c.seq))]


def adopt_settings(ledger: Ledger) -> InForce:
    """Put this host's settings in force where the ledger keeps no value yet.

    In this way a fresh ledger takes the first host's settings, so that one machine needs no command. A refused host puts nothing in
    force, because its other settings may be outdated, too.

    Returns:
        The policy in force now.
    """
    known = in_force(ledger)
    if known.refusal is not None or not (ledger.policy.of_host.keys() - known.entries.keys()):
        return known
    _write(ledger, ledger.policy.of_host, who=f"host {socket.gethostname()}", overrule=False)
    return in_force(ledger)


def check(ledger: Ledger) -> InForce:
    """Call `adopt_settings`, and check that this host may buy.

    Raises:
        ConfigurationError: This host's settings differ from the policy in force. Nothing was bought.
    """
    known = adopt_settings(ledger)
    if known.refusal is not None:
        refused_hosts.note(ledger, About.POLICY, known.refusal)
        raise ConfigurationError(known.refusal)
    refused_hosts.end(ledger, About.POLICY)
    return known


def apply(ledger: Ledger, policy: Policy, *, who: str) -> list[PolicyChange]:
    """Put a host's settings in force; settings that it leaves out stay unchanged. Returns the changes."""
    return _write(ledger, policy, who=who, overrule=True)


def _write(ledger: Ledger, policy: Policy, *, who: str, overrule: bool) -> list[PolicyChange]:
    with ledger.write() as connection:
        # a transaction that reserves money reads the policy under the same lock, so a lowered cap holds at once
        lock_money(connection)
        known = newest(connection)
        if not overrule and any(s in known and known[s].value != value for s, value in policy.items()):
            return []
        changed = [
            PolicyChange(setting, before, value)
            for setting, value in sorted(policy.items())
            if ((before := known.get(setting)) is None) or (overrule and before.value != value)
        ]
        at = ledger.clock()
        if changed:
            connection.execute(
                sa.insert(entries),
                [
                    {
                        "account": setting.account,
                        "setting": setting.name,
                        "value": json.dumps(value),
                        "at": at,
                        "who": who,
                    }
                    for setting, _before, value in changed
                ],
            )
    return changed
