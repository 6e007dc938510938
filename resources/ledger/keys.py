"""Whether an account's key is dedicated to this ledger, which decides how a lost answer is settled.

On a dedicated key, every job at the provider is this ledger's, so that a lost one is found by elimination. On every other key
nothing is guessed. The ledger keeps this fact, not one host's environment: a host's setting counts at its first use of the
account, and if two hosts disagree, the key counts as shared until a person decides.
"""

import hashlib
import math
import socket
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.limits import lock_account
from resources.ledger.schema import accounts, attempts, meta, submissions

DEDICATED, SHARED = "dedicated", "shared"

_KEY = sa.select(accounts.c.key_use, accounts.c.key_use_since, accounts.c.key_use_by).where(
    accounts.c.account == sa.bindparam("account")
)
_ANY_POST = sa.select(submissions.c.id).where(submissions.c.account == sa.bindparam("account")).limit(1)


@dataclass(frozen=True)
class KeyUse:
    """What is known of an account's key."""

    declared: str | None = None
    """`DEDICATED`, `SHARED`, or None if nobody has declared anything: such a key counts as shared."""
    since: float = 0.0
    """Since when, in seconds since the epoch; 0 if it was declared before the account's first POST."""
    by: str | None = None
    """The host or person that declared it."""

    @property
    def dedicated(self) -> bool:
        """Whether only this ledger uses the key."""
        return self.declared == DEDICATED

    @property
    def dedicated_since(self) -> float:
        """The time from which POSTs are settled by elimination, in seconds since the epoch; infinite for a shared key."""
        return self.since if self.dedicated else math.inf

    def disagrees_with(self, dedicated: bool | None) -> bool:
        """Whether a host says that the key is dedicated, while the ledger counts it as shared."""
        return dedicated is True and self.declared == SHARED


def use_of(connection: sa.Connection, account: str) -> KeyUse:
    """Read what the ledger knows about an account's key."""
    row = connection.execute(_KEY, {"account": account}).first()
    return KeyUse() if row is None or row.key_use is None else KeyUse(*row)


def look_up(ledger: Ledger, account: str) -> KeyUse:
    """Read what the ledger knows about an account's key, in its own transaction."""
    with ledger.read() as connection:
        return use_of(connection, account)


def declare(ledger: Ledger, account: str, *, dedicated: bool | None) -> KeyUse:
    """Record what this host's setting says about an account's key.

    "Shared" always counts. "Dedicated" counts only where nobody has said "shared". A host without the setting (None) says nothing.

    Returns:
        What the ledger knows now.
    """
    known = look_up(ledger, account)
    if dedicated is None or known.declared == SHARED or known.declared == _word(dedicated):
        return known
    return _write(ledger, account, dedicated=dedicated, by=f"host {socket.gethostname()}", overrule=False)


def decide(ledger: Ledger, account: str, *, dedicated: bool, who: str) -> KeyUse:
    """Record a person's statement about an account's key; it overrules the settings of hosts.

    Returns:
        What the ledger knows now.
    """
    return _write(ledger, account, dedicated=dedicated, by=who, overrule=True)


def distrust_earlier_posts(ledger: Ledger) -> None:
    """Settle every earlier POST as on a shared key, on all accounts.

    A rebuilt ledger may have lost other POSTs, whose jobs elimination would give to a POST that it knows.
    """
    with ledger.write() as connection:
        # without the row that stops all accounts: claiming a POST locks that row after its account's
        names = sa.select(accounts.c.account).where(accounts.c.key_use == DEDICATED)
        for name in connection.execute(names.order_by(accounts.c.account)).scalars().all():
            lock_account(connection, name)
            now = ledger.clock()
            mine = (accounts.c.account == name, accounts.c.key_use == DEDICATED)
            connection.execute(
                sa.update(accounts).where(*mine, accounts.c.key_use_since < now).values(key_use_since=now)
            )


def see_key(ledger: Ledger, account: str, key: str) -> bool:
    """Record the digest of the key that an account uses.

    A new key may belong to another account at the provider, whose listing shows no job of earlier POSTs, so their absence can never
    be proved any more. Statements about the earlier key do not hold for the new one.

    Returns:
        Whether the key has changed.
    """
    digest, fact = _digest(account, key), _fact(account)
    kept = ledger.fact(fact) or ledger.remember(fact, f"{digest} 0.0")
    if kept.split()[0] == digest:
        return False
    with ledger.write() as connection:
        lock_account(connection, account)
        value = f"{digest} {ledger.clock()!r}"
        connection.execute(sa.update(meta).where(meta.c.key == fact).values(value=value))
        connection.execute(
            sa.update(accounts)
            .where(accounts.c.account == account, accounts.c.key_use == DEDICATED)
            .values(key_use=None, key_use_since=None, key_use_by=None)
        )
    return True


def former_account(ledger: Ledger, account: str, provider: str, key: str) -> str | None:
    """The account of the same provider that bought with this key under another name; None if there is none.

    Under the new name its caps and counters would begin at zero, and its jobs could not be polled.
    """
    with ledger.read() as connection:
        kept = connection.execute(sa.select(meta.c.value).where(meta.c.key == _fact(account))).scalar()
        if kept is not None and kept.split()[0] == _digest(account, key):
            return None
        facts = connection.execute(
            sa.select(meta.c.key, meta.c.value).where(meta.c.key.startswith(_fact(""), autoescape=True))
        )
        for fact, value in facts.all():
            other = str(fact).removeprefix(_fact(""))
            bought = sa.select(attempts.c.id).where(
                attempts.c.account == other, attempts.c.provider == provider
            )
            if (
                other != account
                and value.split()[0] == _digest(other, key)
                and connection.execute(bought.limit(1)).first() is not None
            ):
                return other
    return None


def key_since(connection: sa.Connection, account: str) -> float:
    """Since when an account uses its present key, in seconds since the epoch; 0 if no other key is known."""
    kept = connection.execute(sa.select(meta.c.value).where(meta.c.key == _fact(account))).scalar()
    return 0.0 if kept is None else float(kept.split()[1])


def _digest(account: str, key: str) -> str:
    return hashlib.sha256(f"dailies {account} {key}".encode()).hexdigest()[:16]


def _fact(account: str) -> str:
    return f"key of {account}"


def disagreement(account: str, known: KeyUse) -> str:
    """The warning that this host says that a key is dedicated, while the ledger counts it as shared."""
    return (
        f"this host's setting says that nobody else uses the key of {account}, but {known.by} has said that others do. The key "
        f"counts as shared: a lost answer is held. If nobody else uses it, set the same on every host and run "
        f"`dailies key {account} --dedicated`"
    )


def _write(ledger: Ledger, account: str, *, dedicated: bool, by: str, overrule: bool) -> KeyUse:
    with ledger.write() as connection:
        lock_account(connection, account)
        known = use_of(connection, account)
        if known.declared == _word(dedicated) or (known.declared == SHARED and not overrule):
            return known
        # POSTs from before the statement stay settled as on a shared key: others may have used the key until now
        first = connection.execute(_ANY_POST, {"account": account}).first() is None
        now = KeyUse(_word(dedicated), 0.0 if first else ledger.clock(), by)
        connection.execute(
            sa.update(accounts)
            .where(accounts.c.account == account)
            .values(key_use=now.declared, key_use_since=now.since, key_use_by=now.by)
        )
        return now


def _word(dedicated: bool) -> str:
    return DEDICATED if dedicated else SHARED
