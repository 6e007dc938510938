"""The former names of a series. Its caps count the money spent under them, and its new name selects the clips bought under them."""

from collections.abc import Mapping

import sqlalchemy as sa

from resources.ledger.schema import meta

_FACT = "renamed "
_RENAMES = sa.select(meta.c.key).where(meta.c.key.startswith(_FACT))
_FORMER = sa.select(meta.c.value).where(meta.c.key == sa.bindparam("fact"))


def record_rename(connection: sa.Connection, old: str, new: str) -> None:
    """Record that a series was renamed."""
    known = _own(connection, new)
    if old in known:
        return
    value = " ".join([*known, old])
    if known:
        connection.execute(sa.update(meta).where(meta.c.key == _fact(new)).values(value=value))
    else:
        connection.execute(sa.insert(meta).values(key=_fact(new), value=value))


def former_names(connection: sa.Connection, name: str, keys: str | None) -> set[str]:
    """All former names of a series, through any number of renames.

    Args:
        keys: The start of its keys if it differs from the name. A series that was renamed manually keeps its first name there.
    """
    names: set[str] = {keys} if keys is not None else set()
    left = [name, *names]
    while left:
        for old in _own(connection, left.pop()):
            # a series that got its first name back would be an endless loop
            if old not in names and old != name:
                names.add(old)
                left.append(old)
    return names


def later_names(connection: sa.Connection) -> dict[str, set[str]]:
    """The later names of series, by each former name. Manual renames are not known."""
    names: dict[str, set[str]] = {}
    for (fact,) in connection.execute(_RENAMES):
        name = str(fact).removeprefix(_FACT)
        for old in former_names(connection, name, None):
            names.setdefault(old, set()).add(name)
    return names


def titles_by_every_name(connection: sa.Connection, titles: Mapping[str, str]) -> dict[str, str]:
    """Titles of series by their present and former names."""
    later = later_names(connection)
    former = {old: titles[new] for old, names in later.items() for new in sorted(names & titles.keys())}
    return {**former, **titles}


def _own(connection: sa.Connection, name: str) -> list[str]:
    return str(connection.execute(_FORMER, {"fact": _fact(name)}).scalar() or "").split()


def _fact(name: str) -> str:
    return f"{_FACT}{name}"
