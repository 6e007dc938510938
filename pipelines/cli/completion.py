"""Shell completion: names of series, keys of clips, and selectors of clips.

A person waits at every press of TAB. So it reads the series' files as plain YAML, a SQLite ledger without SQLAlchemy, and nothing
over the network. A file that cannot be read completes nothing.
"""

import contextlib
import datetime as dt
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer

from resources.ledger.states import AttemptState
from resources.plain import slug
from resources.variables import of_process

MOST = 200
"""The most words that are offered."""
MOST_BYTES = 4 << 20
"""The most bytes of all series' files together that are read."""
BUSY_SECONDS = 0.2
"""How long to wait for a ledger that is being written."""
PREFIXES = ("series:", "tag:", "owner:", "state:", "endpoint:")
WHOLE_WORDS = ("changed", "today", "tomorrow", "yesterday")
STATES = ("failed", "open", "new", *(state.value for state in AttemptState if state.value != "failed"))
_NAMED = re.compile(r"^(name|keys):[ \t]*['\"]?([a-z0-9-]+)", re.MULTILINE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FOR_A_SHELL = re.compile(r"[\w.:/@,+-]+", re.ASCII)


class _File(NamedTuple):
    """A series' file, with the names for completion."""

    name: str
    start: str
    """The beginning of its clips' keys."""
    text: str

    def declared(self) -> dict[str, Any]:
        """The file as YAML; empty if it is not YAML."""
        import yaml

        with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            document = yaml.load(self.text, loader)  # noqa: S506 - it is a safe one
            if isinstance(document, dict):
                return document
        return {}


def complete_as_typed() -> None:
    """Let the scripts for zsh and fish call the command as it was typed: `.venv/bin/dailies` is on nobody's PATH."""
    from typer import _completion_shared as typers

    scripts = typers._completion_scripts  # noqa: SLF001 - Typer has no public way
    scripts["zsh"] = scripts["zsh"].replace("complete_zsh %(prog_name)s", "complete_zsh ${(Q)~words[1]}")
    scripts["fish"] = scripts["fish"].replace(
        "(commandline -cp) %(prog_name)s", "(commandline -cp) (commandline -opc)[1]"
    )


def complete_series(incomplete: str) -> list[str]:
    """The names of series that begin like a word."""
    return _offered(incomplete, (file.name for file in _files()))


def complete_key(incomplete: str) -> list[str]:
    """The keys of declared and of bought clips that begin like a word."""
    return _offered(incomplete, itertools.chain(_declared(incomplete, _files()), _bought(incomplete)))


def complete_key_or_series(incomplete: str) -> list[str]:
    """The names of series; after a series' name, the keys of its clips."""
    return complete_series(incomplete) or complete_key(incomplete)


def complete_selector(ctx: typer.Context, incomplete: str) -> list[str]:
    """Selectors that begin like a word; after a comma the next term of the same selector."""
    before, comma, term = incomplete.rpartition(",")
    finished = before + comma
    prefix, colon, value = term.partition(":")
    if colon:
        finished += prefix + colon
    else:
        # bash makes three words of `series:bay`
        *_, prefix, colon = ["", "", *_words_before(ctx)]
        prefix, value = prefix.rpartition(",")[2] if colon == ":" and not comma else "", term
    files = list(_files())
    if prefix:
        return [finished + word for word in _offered(value, _values(prefix, files))]
    offered = _offered(term, [*(file.name for file in files), *WHOLE_WORDS])
    for prefix in (prefix for prefix in PREFIXES if prefix.startswith(term)):
        # a shell adds a space after the only match, so a prefix is offered together with its values
        offered += [prefix + word for word in _offered("", _values(prefix[:-1], files))] if term else [prefix]
    if not offered or term in offered or term.startswith(tuple(f"{file.start}-" for file in files)):
        offered += _offered(term, itertools.chain(_declared(term, files), _bought(term)))
    return [finished + word for word in dict.fromkeys(offered)]


def _words_before(ctx: typer.Context) -> list[str]:
    return [str(word) for given in ctx.params.values() if isinstance(given, (list, tuple)) for word in given]


def _offered(incomplete: str, words: Iterable[str]) -> list[str]:
    fits = (word for word in words if word.startswith(incomplete) and _FOR_A_SHELL.fullmatch(word))
    return sorted(set(itertools.islice(fits, MOST)))


def _values(prefix: str, files: Iterable[_File]) -> Iterator[str]:
    """The values that may follow a prefix."""
    if prefix == "state":
        yield from STATES
    elif prefix == "series":
        yield from (file.name for file in files)
    elif prefix in {"tag", "owner", "endpoint"}:
        for file in files:
            values = file.declared().get("tags" if prefix == "tag" else prefix)
            if isinstance(values, str):
                yield values
            elif isinstance(values, dict):
                yield from itertools.chain.from_iterable((str(key), str(values[key])) for key in values)


def _files() -> Iterator[_File]:
    left = MOST_BYTES
    with contextlib.suppress(OSError):
        for file in sorted(_data_folder().glob("series/*.y*ml")):
            with contextlib.suppress(OSError, ValueError):
                if not file.is_file() or (left := left - file.stat().st_size) < 0:
                    continue
                text = file.read_text(encoding="utf-8")
                names: dict[str, str] = dict(_NAMED.findall(text))
                name = names.get("name") or file.stem
                yield _File(name, names.get("keys") or name, text)


def _data_folder() -> Path:
    data = Path(of_process().get("DAILIES_DATA", "data"))
    if data == Path("bucket"):
        pointer = _home() / "data" / "current"
        return pointer.with_name(pointer.read_text().strip())
    return data


def _home() -> Path:
    return Path(of_process().get("DAILIES_HOME", ".dailies"))


def _declared(incomplete: str, files: Iterable[_File]) -> Iterator[str]:
    """The keys of declared clips that may begin like a word; for a dated series with the word's date, else today's."""
    today = str(dt.datetime.now(dt.UTC).date())
    for file in files:
        start = f"{file.start}-"
        if not start.startswith(incomplete[: len(start)]):
            continue
        declared = file.declared()
        if declared.get("dated", "schedule" in declared):
            written = _DATE.match(incomplete.removeprefix(start))
            start += f"{written[0] if written else today}-"
        yield from (start + name for name in _clip_names(declared))


def _clip_names(declared: dict[str, Any]) -> Iterator[str]:
    clips, matrix = declared.get("clips"), declared.get("matrix")
    if isinstance(clips, list):
        yield from (str(clip.get("name")) for clip in clips if isinstance(clip, dict))
    elif isinstance(matrix, dict) and all(isinstance(values, list) for values in matrix.values()):
        for values in itertools.islice(itertools.product(*matrix.values()), 10 * MOST):
            yield "-".join(map(slug, values))


def _bought(incomplete: str) -> list[str]:
    """The keys of clips in a SQLite ledger. A ledger on a server is not read, since it may answer slowly."""
    scheme, _, path = of_process().get("DAILIES_LEDGER_URL", "").partition(":///")
    file = (Path(path) if path else _home() / "ledger.db").absolute()
    if (not scheme.startswith("sqlite") and path) or not file.is_file():
        return []
    import sqlite3

    with contextlib.suppress(sqlite3.Error):
        ledger = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        with contextlib.closing(ledger):
            rows = ledger.execute(
                "SELECT DISTINCT subject_key FROM attempts WHERE subject_kind = 'clip' AND subject_key >= ? AND subject_key < ? LIMIT ?",
                (incomplete, f"{incomplete}\U0010ffff", MOST),
            )
            return [key for (key,) in rows]
    return []
