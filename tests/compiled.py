"""The workers of one run compile our files once, each a share of them.

In a fresh clone each of four workers compiled all of them, at the same time: eight CPU seconds each, while no test ran.
"""

import compileall
import sys
from pathlib import Path

import pytest
from _pytest.assertion import rewrite

ROOT = Path(__file__).parents[1]
CODE = ("resources", "pipelines", "proof", "bench", "tests")


def pytest_configure(config: pytest.Config) -> None:
    """Compile this worker's share before it collects; what is compiled and unchanged costs a look."""
    run = getattr(config, "workerinput", None)
    if run is None or sys.dont_write_bytecode:
        return
    number, workers = int(run["workerid"].removeprefix("gw")), int(run["workercount"])
    files = sorted(file for name in CODE for file in (ROOT / name).rglob("*.py"))
    for file in files[number::workers]:
        if file.name.startswith("test_") or file.name == "conftest.py":
            _compile_with_asserts(file, config)
        else:
            compileall.compile_file(file, quiet=2)


def _compile_with_asserts(file: Path, config: pytest.Config) -> None:
    """Write what pytest itself would write when it imports the file; it has no public function for that."""
    state = config.stash[rewrite.assertstate_key]
    compiled = rewrite.get_cache_dir(file) / (file.stem + rewrite.PYC_TAIL)
    if rewrite._read_pyc(file, compiled) is None:
        found, code = rewrite._rewrite_test(file, config)
        compiled.parent.mkdir(exist_ok=True)
        rewrite._write_pyc(state, code, found, compiled)
