"""The names of dailies' environment variables; a misspelt name is refused instead of ignored."""

import difflib
import functools
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from resources.declared.problems import nearest, why_unreadable
from resources.errors import ConfigurationError

PREFIX = "DAILIES_"
PINNED = "DAILIES_PINNED"
"""The decisions of `dailies up`, as JSON by variable; they override everything else.

Dagster's commands put the `.env` of their folder over their environment, so a person's own keys and bucket would replace the
sandbox's.
"""

ALIKE = 0.9
"""Similarity from which a name counts as misspelt: `DAILES_MAX_USD_PER_DAY` does, `DAILY_MAX_USERS` does not."""
ALIKE_OTHER = 0.8
"""Similarity from which a name is pointed out that may mean a key of ours: `WAVESPEED_KEY`."""
ENV_FILE = "DAILIES_ENV_FILE"
"""The file of settings; `.env` unless set, no file if empty."""
LOG_FORMAT = "DAILIES_LOG_FORMAT"
"""The form of log lines: `text` or `json`."""
SANDBOX_KEY = "DAILIES_SANDBOX_KEY"
"""The key of a sandbox. Other users of the machine can read a process's arguments, but not its environment."""
SANDBOX_POST_SECONDS = "DAILIES_SANDBOX_POST_SECONDS"
"""How long a sandbox takes to answer a submit, unless its command says it. Tests set 0."""
STACK = "DAILIES_STACK"
"""The mark of the processes of one `dailies up` and of their children: its id, a colon, and its home."""
FOLLOWS_POLICY = "DAILIES_FOLLOWS_POLICY"
"""Set for the processes of a `dailies up` that has put its settings in force: the ledger's policy holds, not their variables."""
TEMPORARY_STORAGE = "DAILIES_TEMPORARY_STORAGE"
"""The folder of Dagster's files where DAGSTER_HOME is not set, shared by a process and its children."""
INTERNAL = frozenset(
    {
        PINNED,
        ENV_FILE,
        SANDBOX_KEY,
        SANDBOX_POST_SECONDS,
        STACK,
        FOLLOWS_POLICY,
        TEMPORARY_STORAGE,
        "DAILIES_TEST_POSTGRES_URL",
        "DAILIES_TEST_POOLER",
        "DAILIES_WRITE_SNAPSHOT",
    }
)
"""Our variables that are no settings: for the processes of a stack, and for tests."""


def refuse_misspelt(names: Iterable[str], where: str, *, known: frozenset[str]) -> None:
    """Refuse a variable that looks like a setting and is none: a misspelt cap is no cap.

    Upper and lower case are the same, as when a value is read.

    Args:
        names: Names of variables.
        where: Their source, for a person.
        known: The names of all settings.

    Raises:
        ConfigurationError: A variable is misspelt or given twice.
    """
    spelt = Counter(name.upper() for name in names)
    wrong = [
        "; ".join(filter(None, (f"{name} is no setting", nearest(_in_full(name, known), known))))
        for name in sorted(spelt)
        if _is_misspelt(name, known)
    ]
    wrong += [f"{name} is given twice" for name in sorted(known) if spelt[name] > 1]
    if wrong:
        end = "" if wrong[-1].endswith("?") else "."
        raise ConfigurationError(
            f"{where}: {'; '.join(wrong)}{end} It is not ignored, because it may be a cap: correct or remove it. Nothing was "
            "bought. See .env.example."
        )


def merged(*environments: Mapping[str, str | None]) -> dict[str, str]:
    """Variables by name in upper case. The first environment that names one decides it; None there removes it."""
    values: dict[str, str | None] = {}
    for environment in environments:
        named = {name.upper(): value for name, value in environment.items()}
        values = {**named, **values}
    return {name: value for name, value in values.items() if value is not None}


def of_process() -> dict[str, str]:
    """The variables that this process's settings are read from; what cannot be read here is refused where settings are read."""
    file = os.environ.get(ENV_FILE, ".env")
    try:
        pinned = json.loads(os.environ.get(PINNED, "{}"))
        in_file = dotenv_values(file) if file else {}
    except (OSError, ValueError):
        pinned, in_file = {}, {}
    return merged(pinned, os.environ, in_file)


def misspelt_keys(names: Collection[str], *, known: Collection[str]) -> list[str]:
    """Warnings about variables that look like a variable we read, while that one is not set."""
    others = [name for name in known if not name.startswith(PREFIX) and name not in names]
    similar = {
        name: difflib.get_close_matches(name.upper(), others, n=1, cutoff=ALIKE_OTHER) for name in names
    }
    return [
        f"dailies does not read {name}: should it be {near[0]}, which is not set?"
        for name, near in sorted(similar.items())
        if near and name not in known
    ]


def names_in(file: str, known: Collection[str] = ()) -> list[str]:
    """The variables in a file of settings; none if the file does not exist.

    Args:
        known: The names of all settings.

    Raises:
        ConfigurationError: The file cannot be read, a line names a setting without a value (`NAME: 5`, `NAME` alone, a quote that is not closed), or
            takes its value from a variable that is not set.
    """
    try:
        lines = list(parse_stream(StringIO(Path(file).read_text(encoding="utf-8-sig"))))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        why = (
            why_unreadable(error)
            if isinstance(error, OSError)
            else "it is not text in UTF-8; save it as UTF-8"
        )
        raise ConfigurationError(f"cannot read the settings in {file}: {why}. Nothing was bought.") from None
    # what the environment or a run's pinned settings say is not read from the file
    decided = {name.upper() for name in (*os.environ, *json.loads(os.environ.get(PINNED) or "{}"))}
    read: list[str] = []
    for line in lines:
        place = f"{file}, line {line.original.line}"
        written = line.original.string.partition("#")[0].upper()
        if (line.error or line.value is None) and (
            PREFIX in written or any(name in written for name in known)
        ):
            raise ConfigurationError(
                f"{place}: a setting is written NAME=VALUE, and a quote that is opened is closed. Nothing was bought. See .env.example."
            )
        if line.key is None:
            continue
        missing = [name for name in _TAKEN_FROM.findall(line.value or "") if name not in {*read, *os.environ}]
        if missing and line.key.upper() in known and line.key.upper() not in decided:
            raise ConfigurationError(
                f"{place}: {line.key} takes its value from {missing[0]}, which is not set, so it would be empty. Set {missing[0]}, or write the "
                "value here. Nothing was bought."
            )
        read.append(line.key)
    return read


_TAKEN_FROM = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@functools.lru_cache(maxsize=4096)
def _is_misspelt(name: str, known: frozenset[str]) -> bool:
    if name in known or name in INTERNAL:
        return False
    ours = [setting for setting in known if setting.startswith(PREFIX)]
    return (
        name.startswith(PREFIX)
        or _in_full(name, known) in known
        or bool(difflib.get_close_matches(name, ours, n=1, cutoff=ALIKE))
    )


def _in_full(name: str, known: Collection[str]) -> str:
    """The name of a cap, with the prefix that may be missing."""
    full = f"{PREFIX}{name}"
    return full if full in known and "MAX_USD" in full else name
