"""`dailies inspect` as a person types it: the checks of a file as at a delivery, without ledger, bucket or provider."""

import json
from pathlib import Path
from typing import Any

import pytest
from makers import make_mp4, mux
from typer.testing import CliRunner, Result

from pipelines.cli.app import app
from resources.errors import ConfigurationError

MODELS = Path(__file__).parents[2] / "data" / "models"
CITY = """\
name: city
endpoint: openai/sora-2/text-to-video
allow_retired: true
parameters: {duration: 4, resolution: 720p, aspect_ratio: "9:16"}
prompt: A street
checks: {audio: off}
clips: [{name: hero}]
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = tmp_path / "data"
    (data / "series").mkdir(parents=True)
    (data / "models").symlink_to(MODELS)
    (data / "series" / "city.yaml").write_text(CITY)
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAILIES_DATA", str(data))
    return tmp_path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mp4(tmp_path_factory.mktemp("films") / "good.mp4")


def run(*words: Any) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, words)])


def outcomes(result: Result) -> list[dict[str, str]]:
    return [{c["name"]: c["outcome"] for c in one["checks"]} for one in json.loads(result.output)]


@pytest.mark.slow
def test_a_good_file_is_described_and_ends_with_0(clip: Path, home: Path) -> None:
    shown = run(clip, "--size", "320x180", "--duration", 2, "--audio", "yes", "--fps", 24)
    assert shown.exit_code == 0, shown.output
    for words in ("320x180", "h264 from 0 s to 2 s", "aac from 0 s to 2 s", "coverage", "passed"):
        assert words in shown.output
    assert "failed" not in shown.output
    assert not (home / "home").exists(), "no home is created"


@pytest.mark.slow
def test_a_failed_check_is_shown_with_its_numbers_and_ends_with_1(clip: Path, tmp_path: Path) -> None:
    short = mux(tmp_path / "short.mp4", (clip, "video", 0, None), (clip, "audio", 0, lambda at: at < 0.3))
    shown = run(clip, short, "--size", "9:16", "--duration", 8, "--audio", "no", "--json")
    assert shown.exit_code == 1
    good, bad = json.loads(shown.output)
    assert (good["file"], bad["file"]) == (str(clip), str(short))
    assert bad["facts"]["sound"] == pytest.approx(
        {"start": 0, "end": 0.3, "gap": None, "missing_seconds": 0}, abs=0.05
    )
    assert bad["looked"]["silent"] == pytest.approx([0.3, 2], abs=0.05)
    failed = [{c["name"] for c in one["checks"] if c["outcome"] == "failed"} for one in (good, bad)]
    assert failed == [{"size", "duration", "audio"}, {"size", "duration", "audio", "coverage", "silence"}]
    (coverage,) = [c for c in bad["checks"] if c["name"] == "coverage"]
    assert coverage["measured"]["sound_missing_seconds"] == pytest.approx(1.7, abs=0.05)


@pytest.mark.slow
def test_without_an_order_nothing_is_compared(clip: Path) -> None:
    (said,) = outcomes(run(clip, "--json"))
    assert {name for name, outcome in said.items() if outcome == "skipped"} == {
        *("size", "duration", "frame_rate", "audio", "model", "nsfw", "credentials")
    }


@pytest.mark.slow
def test_a_file_is_compared_with_the_order_and_checks_of_a_named_clip(clip: Path) -> None:
    shown = run(clip, "--clip", "city-hero", "--json")
    assert shown.exit_code == 1
    (said,) = outcomes(shown)
    assert (said["size"], said["duration"], said["audio"]) == ("failed", "failed", "skipped")
    assert isinstance(run(clip, "--clip", "city-hero", "--duration", 4).exception, ConfigurationError)
    assert isinstance(run(clip, "--clip", "city-none").exception, ConfigurationError)


@pytest.mark.slow
def test_a_file_that_is_no_video_fails_and_the_others_are_still_inspected(clip: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.mp4"
    page.write_text("<html>404</html>")
    shown = run(page, clip)
    assert shown.exit_code == 1
    assert "does not begin like an MP4" in shown.output
    assert "320x180" in shown.output


@pytest.mark.parametrize(
    "words", [["nowhere.mp4"], [], ["{clip}", "--audio", "maybe"], ["{clip}", "--size", "big"]]
)
def test_invalid_options_are_refused(clip: Path, words: list[str]) -> None:
    refused = run(*(word.format(clip=clip) for word in words))
    assert refused.exit_code == 2 or isinstance(refused.exception, ConfigurationError)
