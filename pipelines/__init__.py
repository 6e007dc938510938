"""Dagster only: what runs, when, and how it is shown. Imports `resources`, never the other way round."""

import sys
from importlib.util import find_spec
from pathlib import Path


def _refuse_foreign_resources() -> None:
    """Refuse to start where another package named `resources` is found before ours: a command with a sentence, Dagster with an error.

    Raises:
        ImportError: It names the other package.
        SystemExit: The same, in a process of ours.
    """
    ours = Path(__file__).resolve().parents[1] / "resources" / "__init__.py"
    found = find_spec("resources")
    where = (
        []
        if found is None
        else [found.origin]
        if found.origin
        else list(found.submodule_search_locations or ())
    )
    if where and Path(str(where[0])).resolve() == ours:
        return
    why = (
        f"the package `resources` is {where[0] if where else 'not there'}, not dailies' own ({ours.parent}). dailies is an application: "
        "give it an environment of its own, and start it from a folder without a `resources` or `pipelines` of other code "
        "(docs/join-a-deployment.md). Nothing was bought."
    )
    # `-m` stands there while Python looks for a module of ours; Dagster has a name of its own, and shows the error
    if Path(sys.argv[0]).name in {"dailies", "-m"}:
        sys.stderr.write(f"dailies: {why}\n")
        sys.exit(2)
    raise ImportError(why)


_refuse_foreign_resources()
