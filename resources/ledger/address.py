"""The address of the ledger's database: read strictly, shown without its secrets, with what other programs add to it taken out."""

import re

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from resources.errors import ConfigurationError
from resources.spellings import Spellings

_USER = re.compile(r"(?:[^:/]*(?::[^@]*)?@)?")
_HOST = re.compile(r"[A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")

FOR_OTHERS = {"pgbouncer", "connection_limit", "pool_timeout", "statement_cache_size", "prepared_statements"}
"""Settings of Prisma and other drivers that hosts put into the addresses they show. They ask for what dailies does anyway:
few connections, and no prepared statements."""
KEEP_ALIVE = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""What an address says unless it says otherwise: a server that vanishes without a word is noticed within 30 s, where the
system's default is two hours. Settings of libpq itself: the server never sees them."""


def parsed_address(url: str) -> sa.URL:
    """The address taken apart, if its password can only be where it seems to be; no error shows any of it.

    An `@` in a password ends it too early, and the host would be shown with the password's end.

    Raises:
        ConfigurationError: It is not a database's address, or one that can be read in two ways.
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
    """Whether it names a PostgreSQL database; hosts also write `postgres://`."""
    return url.get_backend_name() in {"postgresql", "postgres"}


def for_psycopg(url: sa.URL) -> sa.URL:
    """A PostgreSQL address as SQLAlchemy and psycopg2 take it, whoever wrote it.

    Raises:
        ConfigurationError: It names a schema, which a pooler would forget between two transactions.
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
    """The address for a person: nothing of its user, password and query."""
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host or ""
    backend = "postgresql" if is_postgresql(url) else url.get_backend_name()
    return f"{backend}://{host}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def secrets_of(url: sa.URL) -> Spellings:
    """The password, and those that a query may hold (libpq takes `password` and `sslpassword` there)."""
    said = [url.password, *(value for key, value in url.query.items() if "pass" in key)]
    return Spellings(*(text for text in said if isinstance(text, str)), instead="[password]")
