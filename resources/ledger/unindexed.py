"""A column that SQLite does not look up in an index.

SQLite may choose an index that holds the whole history. PostgreSQL chooses by its statistics, which know columns and no expressions:
of `subject_kind || '' = 'clip'` it expects few rows, and it read all 20,000 purchases of a test for the newest fifty of a series.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class Unindexed(FunctionElement[str]):
    """A text column that SQLite does not look up in an index."""

    inherit_cache = True
    name = "unindexed"
    type = sa.String()

    def __init__(self, column: sa.ColumnElement[str]) -> None:
        super().__init__(column)


@compiles(Unindexed)
def _as_it_is(element: Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@compiles(Unindexed, "sqlite")
def _in_sqlite(element: Unindexed, compiler: SQLCompiler, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"
