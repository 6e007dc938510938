"""The systemd unit is valid, and starts an existing command."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "dailies.service"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")


def complaints(text: str, folder: Path) -> str:
    """systemd's complaints about a unit whose program exists."""
    file = folder / "dailies.service"
    file.write_text(text.replace("/opt/dailies/.venv/bin/dailies", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stderr


@pytest.mark.slow
@needs_systemd
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    assert "dailies.service" not in complaints(UNIT.read_text(), tmp_path)


@pytest.mark.slow
@needs_systemd
def test_a_misspelt_key_is_noticed(tmp_path: Path) -> None:
    wrong = UNIT.read_text().replace("ProtectSystem", "ProtectSytem")
    assert "ProtectSytem" in complaints(wrong, tmp_path)


def test_the_time_to_stop_is_longer_than_runs_may_take() -> None:
    from pipelines.cli.takeover import HANDOVER_SECONDS

    stops = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert stops is not None
    assert int(stops[1]) > HANDOVER_SECONDS + 30
