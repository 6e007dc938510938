"""The copy of the ledger in Dagster: a green run with a verified copy, or a failed run with an alarm."""

from pathlib import Path

import dagster as dg
import pytest
from pipelinekit import House, nothing_bought
from projects import an_order

from pipelines.ledger_backup import daily_ledger_backup
from resources.ledger.decisions import Decision, decide
from resources.production import ledger_copies
from resources.production.ledger_copies import copies


def want(house: House) -> None:
    with house.production.ledger() as ledger:
        decide(ledger, [an_order("bay-dawn")], Decision("monday"))


def test_a_run_leaves_a_verified_copy_and_buys_nothing(house: House) -> None:
    want(house)
    with nothing_bought(house):
        assert house.run("ledger_backup").green
    (copy,) = copies(house.production.store())
    assert copy.is_verified


def test_a_copy_that_is_not_verified_fails_the_run(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    want(house)
    whole = ledger_copies._make_copy

    def cut(url: str, folder: Path) -> tuple[Path, str]:
        file, kind = whole(url, folder)
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size // 2)
        return file, kind

    monkeypatch.setattr(ledger_copies, "_make_copy", cut)
    ran = house.run("ledger_backup")
    assert not ran.green
    assert "unpacked" in (ran.failure or "")
    assert [copy.is_verified for copy in copies(house.production.store())] == [False]


def test_the_schedule_requests_a_copy_unless_other_tools_make_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ticked() -> object:
        context = dg.build_schedule_context(
            instance=house.instance, resources={"production": house.production}
        )
        return daily_ledger_backup(context)

    assert isinstance(ticked(), dg.RunRequest)
    monkeypatch.setenv("DAILIES_LEDGER_BACKUPS", "off")
    assert isinstance(ticked(), dg.SkipReason)
    monkeypatch.delenv("DAILIES_LEDGER_BACKUPS")
    monkeypatch.setenv("DAILIES_S3_BUCKET", "")
    assert isinstance(ticked(), dg.SkipReason)
