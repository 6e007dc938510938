"""The bench of years measures what it claims: Dagster shows every clip of the history that it wrote."""

import json
import subprocess
import sys

import pytest

from bench.years import ROWS, table


@pytest.mark.night
def test_a_small_history_is_measured_from_a_fresh_folder() -> None:
    command = [sys.executable, "-m", "bench.years", "--sizes", "200"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    (found,) = json.loads(done.stdout).values()
    # the bench itself refuses a history of which Dagster shows less than all clips
    assert set(found) == set(ROWS)
    assert all(number >= 0 for number in found.values())
    assert 500 < found["event bytes"] < 4_000


def test_the_table_has_a_column_for_each_size() -> None:
    results = {size: dict.fromkeys(ROWS, float(size)) for size in (1_000, 110_000)}
    first, *rest = table(results).splitlines()
    assert first == "|  | 1,000 purchases | 110,000 purchases |"
    assert len(rest) == len(ROWS) + 1
    assert rest[-1].endswith("| 1,000 | 110,000 |")
