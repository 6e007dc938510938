"""The environment variables of dailies by name: which there are, and that a misspelt one is refused instead of ignored."""

import difflib
from collections import Counter
from collections.abc import Collection, Iterable
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

from resources.declared.problems import nearest
from resources.errors import ConfigurationError

PREFIX = "DAILIES_"
PINNED = "DAILIES_PINNED"
"""Holds what `dailies up` has decided, as JSON by variable, which goes over everything else.

Dagster's commands put the `.env` of the folder they run in over their environment, so that a person's own keys and bucket
would stand in the place of the sandbox's.
"""

ALIKE = 0.9
"""How alike another name has to be to be taken for a misspelt one: `DAILES_MAX_USD_PER_DAY` is, `DAILY_MAX_USERS` is not."""
ENV_FILE = "DAILIES_ENV_FILE"
"""Names the file of settings to read; `.env` unless set, none where it is empty."""
SANDBOX_KEY = "DAILIES_SANDBOX_KEY"
"""The key that a sandbox accepts: other users of the machine can read arguments, but no environment."""
STACK = "DAILIES_STACK"
"""Marks the processes of one `dailies up` and all that they start: its id, a colon, and its home."""
INTERNAL = frozenset(
    {
        PINNED,
        ENV_FILE,
        SANDBOX_KEY,
        STACK,
        "DAILIES_TEST_POSTGRES_URL",
        "DAILIES_TEST_POOLER",
        "DAILIES_WRITE_SNAPSHOT",
    }
)
"""Variables of ours that are no settings: how processes of a stack speak to each other, and what tests are told."""


def refuse_misspelt(given: Iterable[str], where: str, *, known: Collection[str]) -> None:
    """Refuse a variable that means to be a setting of ours and is none: a misspelt cap is no cap.

    Upper and lower case are the same, as they are where a value is read.

    Args:
        given: Names of variables.
        where: What gave them, for a person.
        known: The settings there are.

    Raises:
        ConfigurationError: There is one, or one is there twice.
    """
    spelt = Counter(name.upper() for name in given)
    wrong = [
        f"{name} is no setting {nearest(_in_full(name, known), known)}".strip()
        for name in sorted(spelt)
        if _is_misspelt(name, known)
    ]
    wrong += [f"{name} is there twice" for name in sorted(known) if spelt[name] > 1]
    if wrong:
        raise ConfigurationError(
            f"{where}: {'; '.join(wrong)}. It is not ignored, since it may be a cap: correct it or take it out. Nothing was "
            "bought. See .env.example."
        )


def misspelt_keys(given: Collection[str], *, known: Collection[str]) -> list[str]:
    """Sentences about variables that look like another tool's or provider's one that we read, while that one is not there."""
    others = [name for name in known if not name.startswith(PREFIX) and name not in given]
    found = {name: difflib.get_close_matches(name.upper(), others, n=1, cutoff=ALIKE) for name in given}
    return [
        f"{name} is read by nobody here: is it meant to be {near[0]}, which is not set?"
        for name, near in sorted(found.items())
        if near and name not in known
    ]


def names_in(file: str) -> list[str]:
    """The variables that a file of settings sets; none where there is no such file.

    Raises:
        ConfigurationError: It cannot be read, or a line about a setting of ours gives it no value: `NAME: 5`, `NAME` alone.
    """
    try:
        lines = list(parse_stream(StringIO(Path(file).read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise ConfigurationError(f"cannot read the settings in {file}: {why}. Nothing was bought.") from None
    for line in lines:
        if PREFIX in line.original.string.partition("#")[0].upper() and (line.error or line.value is None):
            raise ConfigurationError(
                f"{file}, line {line.original.line}: a setting is written NAME=VALUE. Nothing was bought. See .env.example."
            )
    return [line.key for line in lines if line.key is not None]


def _is_misspelt(name: str, known: Collection[str]) -> bool:
    if name in known or name in INTERNAL:
        return False
    ours = [setting for setting in known if setting.startswith(PREFIX)]
    return (
        name.startswith(PREFIX)
        or _in_full(name, known) in known
        or bool(difflib.get_close_matches(name, ours, n=1, cutoff=ALIKE))
    )


def _in_full(name: str, known: Collection[str]) -> str:
    """A name of a cap with the prefix it may lack."""
    full = f"{PREFIX}{name}"
    return full if full in known and "MAX_USD" in full else name
