"""Files that belong to the program and not to one's own declarations: the catalogue, the schemas, Dagster's settings.

They are found wherever the program lies: in a checkout at its top, in an installed package below `resources/shipped` (see
`[tool.hatch.build.targets.wheel.force-include]` in pyproject.toml). The working directory does not matter.
"""

from pathlib import Path

SHIPPED_MODELS = "shipped-models"
"""In a pushed data folder: the program's own catalogue, as the version had it that pushed the folder."""

_ROOT = Path(__file__).resolve().parents[1]
_SHIPPED = Path(__file__).resolve().parent / "shipped"


def program_root() -> Path:
    """The folder from which `pipelines` and `resources` are imported."""
    return _ROOT


def program_file(path: str) -> Path:
    """A file or folder of the program.

    Args:
        path: Below the program's top, e.g. `data/models`.
    """
    return (_SHIPPED if _SHIPPED.is_dir() else _ROOT) / path


def models_beside(data: Path) -> Path:
    """The program's entries that count beside the `models/` of a data folder: those that were pushed with it, else this version's.

    So hosts with two versions of dailies buy by one catalogue. A folder that holds no file was not pushed: it hid every model.
    """
    pushed = data / SHIPPED_MODELS
    return pushed if any(pushed.glob("[!.]*")) else program_file("data/models")
