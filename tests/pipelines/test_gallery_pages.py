"""The gallery in Dagster and on the command line: pages are written only when their content has changed."""

import json
import sys
import types
from collections.abc import Callable

import dagster as dg
import httpx
import pytest
from pipelinekit import QUIET, House

from pipelines.assets.gallery import GALLERY
from pipelines.cli import main


def pages(house: House) -> dict[str, bytes]:
    """The pages in the bucket."""
    folder = house.bucket_file("gallery")
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*.html")}


def shown(house: House) -> int:
    """Number of gallery events in Dagster."""
    wanted = dg.AssetRecordsFilter(GALLERY)
    return len(house.instance.fetch_materializations(wanted, limit=50).records)


def bought(house: House, series: str, clips: list[str]) -> list[str]:
    keys = house.declare(series, clips)
    house.add(keys)
    house.produce(keys)
    return keys


@pytest.fixture(scope="module")
def before_the_first_purchase(house_to_look_at: House) -> tuple[str | None, dict[str, bytes]]:
    """The message of a tick, and the pages."""
    return house_to_look_at.tick("gallery_pages")[1], pages(house_to_look_at)


@pytest.fixture(scope="module")
def delivered(house_to_look_at: House, before_the_first_purchase: object) -> House:
    """A house with one clip, of which no page is written yet."""
    bought(house_to_look_at, "bay", ["dawn"])
    return house_to_look_at


@pytest.fixture
def house(delivered: House, copy_of: Callable[[House], House]) -> House:
    """A copy of that house."""
    return copy_of(delivered)


def test_the_sensor_writes_changed_pages_and_starts_no_run(house: House) -> None:
    ran, message = house.tick("gallery_pages")
    assert not ran
    assert message == "2 of 2 pages written"
    first = pages(house)
    assert sorted(first) == ["index.html", "series/bay.html"]

    assert house.tick("gallery_pages")[1] == "the gallery shows everything"
    assert shown(house) == 1

    bought(house, "city", ["tram"])
    assert house.tick("gallery_pages")[1] == "2 of 3 pages written"
    second = pages(house)
    assert second["series/bay.html"] == first["series/bay.html"]
    assert b"city-tram" in second["index.html"]
    assert shown(house) == 2


def test_a_ledger_without_purchases_has_no_gallery(
    before_the_first_purchase: tuple[str | None, dict[str, bytes]],
) -> None:
    assert before_the_first_purchase == ("the gallery shows everything", {})


def test_an_unreadable_cursor_writes_all_pages_again(house: House) -> None:
    house.cursors["gallery_pages"] = "{"
    assert house.tick("gallery_pages")[1] == "2 of 2 pages written"


def test_an_outage_of_the_bucket_is_a_clear_message_and_the_next_tick_tries_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("DAILIES_S3_ENDPOINT", "http://127.0.0.1:9")
        message = house.tick("gallery_pages")[1]
    assert "127.0.0.1:9" in (message or "")
    assert house.tick("gallery_pages")[1] == "2 of 2 pages written"


def test_materializing_the_asset_writes_every_page(house: House) -> None:
    house.tick("gallery_pages")
    house.put("gallery/index.html", b"somebody else's")
    job = house.definitions().resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(asset_selection=[GALLERY], instance=house.instance, run_config=QUIET)
    assert result.success
    (record,) = house.instance.fetch_materializations(dg.AssetRecordsFilter(GALLERY), limit=1).records
    materialization = record.asset_materialization
    assert materialization is not None
    values = {name: value.value for name, value in materialization.metadata.items()}
    assert (values["clips"], values["pages"], values["pages_written"]) == (1, 2, 2)
    assert b"bay-dawn" in pages(house)["index.html"]


def test_a_remote_bucket_is_served_on_this_machine_until_interrupted(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def browse(url: str) -> bool:
        with httpx.Client(trust_env=False) as client:
            seen.append(client.get(url).text)
        return True

    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.cli.gallery.webbrowser.open", browse)
    monkeypatch.setattr("pipelines.cli.gallery.time", types.SimpleNamespace(sleep=interrupted))
    monkeypatch.setattr(sys, "argv", ["dailies", "gallery", "--open"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "bay-dawn" in seen[0]
    assert "until Ctrl-C" in capsys.readouterr().out


def test_the_command_writes_the_pages_and_prints_their_address(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dailies", "gallery", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = json.loads(capsys.readouterr().out)
    assert said["index"].endswith("/gallery/index.html")
    assert said["pages"] == ["gallery/index.html", "gallery/series/bay.html"]
    assert said["clips"] == 1
    assert sorted(pages(house)) == ["index.html", "series/bay.html"]
