"""The address of the ledger's database: parsed strictly, cleaned of other programs' settings, shown without its secrets."""

import re

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from resources.errors import ConfigurationError
from resources.spellings import Spellings

_USER = re.compile(r"(?:[^:/]*(?::[^@]*)?@)?")
_HOST = re.compile(r"[A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")

FOR_OTHERS = {"pgbouncer", "connection_limit", "pool_timeout", "statement_cache_size", "prepared_statements"}
"""Settings of Prisma and other drivers, which hosting services add to the addresses they show. dailies drops them: it already
uses few connections and no prepared statements."""
KEEP_ALIVE = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""The default settings of an address: a server that vanishes without closing its connections is noticed within 30 s instead of
the system's two hours. They are settings of libpq, which the server never sees."""


def parsed_address(url: str) -> sa.URL:
    """Parse the address; refuse one whose password is ambiguous. No error shows any part of it.

    An unescaped `@` ends the password too early, so that the rest of the password would be shown as part of the host.

    Raises:
        ConfigurationError: It is not the address of a database, or it is ambiguous.
    """
    try:
        parsed = make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        known = False
    else:
        before = _USER.match(url.partition("://")[2])
        user, rest = (before[0], url.partition("://")[2][before.end() :]) if before else ("", "")
        misread = "@" in rest or re.search(r"\?.*=", user) or not _HOST.fullmatch(parsed.host or "")
        known = not (misread if is_postgresql(parsed) else parsed.host or user)
    if not known:
        raise ConfigurationError(
            "the ledger's address is not a database URL; allowed: sqlite:///path/to/ledger.db or "
            "postgresql://user:password@host/name, with @ / ? # : and % in the user or the password written as "
            "%40 %2F %3F %23 %3A and %25. Set DAILIES_LEDGER_URL."
        ) from None
    return parsed


def is_postgresql(url: sa.URL) -> bool:
    """Whether the address names a PostgreSQL database; hosting services also write `postgres://`."""
    return url.get_backend_name() in {"postgresql", "postgres"}


def for_psycopg(url: sa.URL) -> sa.URL:
    """Convert any PostgreSQL address into one for SQLAlchemy and psycopg2.

    Raises:
        ConfigurationError: It names a schema, which a pooler forgets between two transactions.
    """
    if "schema" in url.query:
        raise ConfigurationError(
            "the ledger's address names a schema (schema=...), which dailies cannot use: its tables are where the user's "
            "search_path points. Give the ledger a database or a user of its own, and take it out of DAILIES_LEDGER_URL."
        )
    kept = {key: value for key, value in url.query.items() if key not in FOR_OTHERS}
    # a bare postgresql:// means psycopg 3 since SQLAlchemy 2.1; dailies brings psycopg2
    return url.set(drivername="postgresql+psycopg2", query={**KEEP_ALIVE, **kept})


def shown_address(url: sa.URL) -> str:
    """The address for a person, without user, password and query."""
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host or ""
    backend = "postgresql" if is_postgresql(url) else url.get_backend_name()
    return f"{backend}://{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def secrets_of(url: sa.URL) -> Spellings:
    """The password, and the passwords in the query (libpq accepts `password` and `sslpassword` there)."""
    secrets = [url.password, *(value for key, value in url.query.items() if "pass" in key)]
    return Spellings(*(text for text in secrets if isinstance(text, str)), instead="[password]")
