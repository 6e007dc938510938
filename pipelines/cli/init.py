"""`dailies init`: create a folder for your own series, with all files of a separate code location."""

import json
from importlib.metadata import version
from pathlib import Path

from resources.dagster_names import DagsterNames, named
from resources.errors import ConfigurationError
from resources.program_files import program_file

_TEMPLATES = Path(__file__).parent / "own_folder"
SERIES = "data/series/morning-light.yaml"
FOREIGN = ("pipelines", "resources")
"""The names of our packages. Python would import a package of such a name in the folder instead of ours."""


def lay_out(folder: Path, names: DagsterNames) -> list[Path]:
    """Write the files of a new folder; returns them, below the folder.

    Args:
        folder: The folder, which may exist and have other files.
        names: The names of its code location and assets in Dagster.

    Raises:
        ConfigurationError: The folder cannot be used, or has one of the files already. Nothing was written then.
    """
    files = _files(names)
    _refuse(folder, files)
    try:
        for path, text in files.items():
            place = folder / path
            _make_folder(place.parent)
            with place.open("x", encoding="utf-8") as file:
                file.write(text)
            # the command's umask makes files private, but only .env will hold keys
            place.chmod(0o600 if path == ".env" else 0o644)
    except OSError as error:
        raise ConfigurationError(f"cannot write to {folder}: {error.strerror}") from None
    return [Path(path) for path in files]


def _make_folder(folder: Path) -> None:
    """Create a folder that other users may read, with its parents."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)


def _refuse(folder: Path, files: dict[str, str]) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder. Nothing was written.")
    existing = [path for path in files if (folder / path).exists() or (folder / path).is_symlink()]
    if existing:
        more = f" and {len(existing) - 5} more" if len(existing) > 5 else ""
        raise ConfigurationError(
            f"{folder} has {', '.join(existing[:5])}{more} already, and nothing is overwritten. Choose another folder. Nothing was written."
        )
    for name in FOREIGN:
        if (folder / name / "__init__.py").exists() or (folder / f"{name}.py").exists():
            raise ConfigurationError(
                f"{folder} has a Python package {name!r} of its own, which Dagster would import instead of dailies' own. Choose a "
                f"folder of its own, e.g. {folder / 'dailies'}. Nothing was written."
            )


def _files(names: DagsterNames) -> dict[str, str]:
    """The text of each file, by its path below the folder."""
    settings = program_file(".env.example").read_text(encoding="utf-8")
    changed = [f"{name}={value}" for name, value in named(names).items() if value != _DEFAULTS[name]]
    files = {
        ".env": "\n".join([settings.rstrip("\n"), *changed]) + "\n",
        ".gitignore": _template("gitignore"),
        ".github/workflows/dailies.yml": _template("dailies-checks.yml"),
        "dagster.yaml": program_file("dagster.yaml").read_text(encoding="utf-8"),
        "workspace.yaml": (
            "# For a Dagster that you start in this folder; `dailies up` does not need this file.\n"
            f"load_from:\n  - python_module:\n      module_name: pipelines.definitions\n      location_name: {json.dumps(names.location)}\n"
        ),
        "requirements.txt": (
            "# If your package index does not have dailies, write the address of its repository or of its wheel instead.\n"
            f"dailies=={version('dailies')}\n"
        ),
        SERIES: _template("morning-light.yaml"),
    }
    schemas = sorted(program_file("data/schemas").glob("*.json"))
    return files | {f"data/schemas/{file.name}": file.read_text(encoding="utf-8") for file in schemas}


_DEFAULTS = named(DagsterNames.model_construct())


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")
