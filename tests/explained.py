"""Finds queries that read a ledger's history: the database explains every statement that real flows send.

A table counts as history if it has more than `MOST_ROWS` rows; smaller ones are bounded, whatever their name. A statement reads
history if its plan scans such a table, or if it touches more than `MOST_ROWS` rows.
"""

import contextlib
import functools
import inspect
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

HISTORY = 20_000
"""Number of purchases in the tests' ledger."""
MOST_ROWS = 2_000
"""Rows that a statement may touch: far more than the open ones and the two weeks that a bill may still change, and a tenth of the
history."""
STEPS_PER_ROW = 25
"""Instructions of SQLite's machine for one row: a search in an index, some comparisons, and the row's columns."""
TIMES = 3
"""How often a statement of one place is explained; later ones have the same plan."""
SCAN = re.compile(r"^SCAN (\w+)( USING (?:COVERING )?INDEX (\w+))?")
EXPLAINED = re.compile(r"\s*(SELECT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)


@dataclass
class Explained:
    """Findings about the statements of some flows."""

    too_much: dict[str, str] = field(default_factory=dict)
    """Statements that read history, by the place that sent them."""
    seen: dict[tuple[str, str], int] = field(default_factory=dict)
    """Number of each statement, by place and shape."""

    @property
    def places(self) -> set[str]:
        """The functions that sent statements."""
        return {place for place, _ in self.seen}

    def __str__(self) -> str:
        return "\n\n".join(f"{place}\n{why}" for place, why in sorted(self.too_much.items()))


@contextlib.contextmanager
def explaining() -> Iterator[Explained]:
    """Explain every statement that any database receives within the block."""
    found = Explained()
    sizes: dict[str, dict[str, int]] = {}

    def before(
        connection: sa.Connection, cursor: Any, statement: str, parameters: Any, _context: object, many: bool
    ) -> None:
        place, shape = _place(), _shape(statement)
        times = found.seen[place, shape] = found.seen.get((place, shape), 0) + 1
        if many or times > TIMES or EXPLAINED.match(statement) is None or place.startswith("database.py"):
            return
        known = str(connection.engine.url)
        if known not in sizes:
            sizes[known] = _sizes(cursor, connection.dialect.name)
        history = {name for name, rows in sizes[known].items() if rows > MOST_ROWS}
        explain = _in_sqlite if connection.dialect.name == "sqlite" else _in_postgresql
        why = explain(cursor, statement, parameters, history)
        if why is not None:
            found.too_much[place] = f"{why}\n{shape}"

    sa.event.listen(sa.Engine, "before_cursor_execute", before)
    try:
        yield found
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", before)


@functools.cache
def _shape(statement: str) -> str:
    """A statement without the length of its lists."""
    return re.sub(r"\(\s*(\?|%\(\w+\)s|'[^']*')(,\s*(\?|%\(\w+\)s|'[^']*'))*\s*\)", "(...)", statement)


def _place() -> str:
    """The function that sends a statement, outside SQLAlchemy and the ledger's own modules."""
    # Frames alone: `traceback` would also read the source of each.
    frame = inspect.currentframe()
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        ours = "/resources/" in file or "/pipelines/" in file
        if ours and not file.endswith("/outage.py") and name != "_select":
            return f"{file.rsplit('/', 1)[-1]}: {name}"
        frame = frame.f_back
    return "a test"


def _sizes(cursor: Any, dialect: str) -> dict[str, int]:
    """Number of rows of each table."""
    tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
    if dialect != "sqlite":
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    cursor.execute(tables)
    sizes = {}
    for (name,) in cursor.fetchall():
        cursor.execute(f'SELECT count(*) FROM "{name}"')
        sizes[name] = int(cursor.fetchone()[0])
    return sizes


def _in_sqlite(cursor: Any, statement: str, parameters: Any, history: set[str]) -> str | None:
    raw: sqlite3.Connection = cursor.connection
    plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    scans = [line for line in plan if (scan := SCAN.match(line)) and _table(scan, statement) in history]
    whole = [line for line in scans if not _is_small(raw, SCAN.match(line))]
    if whole:
        return "; ".join(whole)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 100
        return 0

    raw.execute("SAVEPOINT explained")
    raw.set_progress_handler(count, 100)
    try:
        raw.execute(statement, parameters).fetchall()
    finally:
        raw.set_progress_handler(None, 0)
        raw.execute("ROLLBACK TO explained")
        raw.execute("RELEASE explained")
    if steps > MOST_ROWS * STEPS_PER_ROW:
        return f"{steps} steps: {'; '.join(plan)}"
    return None


def _table(scan: re.Match[str], statement: str) -> str:
    """The table of a line of a plan, which may name the table's alias."""
    named = re.search(rf"(\w+) AS {scan[1]}\b", statement)
    return named[1] if named else scan[1]


def _is_small(raw: sqlite3.Connection, scan: re.Match[str] | None) -> bool:
    """Whether a scan reads a partial index with few rows, such as open or waiting purchases."""
    if scan is None or scan[3] is None:
        return False
    found = raw.execute("SELECT tbl_name, sql FROM sqlite_master WHERE name = ?", (scan[3],)).fetchone()
    if found is None or found[1] is None or " WHERE " not in found[1]:
        return False
    where = found[1].split(" WHERE ", 1)[1]
    (rows,) = raw.execute(f"SELECT count(*) FROM {found[0]} INDEXED BY {scan[3]} WHERE {where}").fetchone()
    return bool(rows <= MOST_ROWS)


def _in_postgresql(cursor: Any, statement: str, parameters: Any, history: set[str]) -> str | None:
    cursor.execute("SAVEPOINT explained")
    cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
    plan = cursor.fetchone()[0][0]["Plan"]
    cursor.execute("ROLLBACK TO SAVEPOINT explained")
    cursor.execute("RELEASE SAVEPOINT explained")
    whole = [
        f"{node['Node Type']} of {rows:.0f} rows of {node.get('Relation Name') or node.get('Index Name')}"
        for node, rows in _reads(plan)
        if rows > MOST_ROWS or (node["Node Type"] == "Seq Scan" and node["Relation Name"] in history)
    ]
    return "; ".join(whole) or None


def _reads(node: dict[str, Any]) -> Iterator[tuple[dict[str, Any], float]]:
    """The nodes of a plan that read a table or an index, with the number of rows that they touch."""
    if "Relation Name" in node or "Index Name" in node:
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        if node["Node Type"] != "ModifyTable":
            yield node, (node["Actual Rows"] + removed) * node["Actual Loops"]
    for child in node.get("Plans", ()):
        yield from _reads(child)
