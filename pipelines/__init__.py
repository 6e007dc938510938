"""The Dagster side (assets, schedules, sensors, jobs) and the command. It imports `resources`, never the other way round."""

import sys
from importlib.util import find_spec
from pathlib import Path


def _refuse_foreign_resources() -> None:
    """Refuse to start if Python finds another package named `resources` before ours.

    Raises:
        ImportError: In a process of Dagster; the text names the other package.
        SystemExit: In a process of ours, after the same text.
    """
    ours = Path(__file__).resolve().parents[1] / "resources" / "__init__.py"
    spec = find_spec("resources")
    where = (
        [] if spec is None else [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    )
    if where and Path(str(where[0])).resolve() == ours:
        return
    why = (
        f"the package `resources` is {where[0] if where else 'not there'}, not dailies' own ({ours.parent}). dailies is an application: "
        "give it its own environment, and start it from a folder without a `resources` or `pipelines` of other code "
        "(docs/join-a-deployment.md). Nothing was bought."
    )
    # argv[0] is `-m` while Python imports one of our modules; Dagster's processes have other names, and show the error
    if Path(sys.argv[0]).name in {"dailies", "-m"}:
        sys.stderr.write(f"dailies: {why}\n")
        sys.exit(2)
    raise ImportError(why)


_refuse_foreign_resources()
