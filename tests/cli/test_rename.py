"""A renamed series keeps its clips: nothing is bought again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from projects import a_project

from pipelines.cli.declared import declarations_of
from resources.ledger.decisions import Decision, decide
from resources.ledger.former_names import record_rename
from resources.ledger.schema import attempts
from resources.settings import load_settings, open_ledger

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def dailies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Run) -> Run:
    a_project(tmp_path, monkeypatch, ["east", "west"])
    for name in ("DAILIES_LEDGER_URL", "DAILIES_S3_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "data" / "series" / "bay.yaml"
    text = file.read_text().replace("name: bay\n", "")
    file.write_text(f"# the bay\nname: bay\n{text}dated: true\n")

    return command


def verbs(run: Run, name: str) -> list[tuple[str, str]]:
    made = json.loads(run("plan", name, "--date", "2026-11-20", "--json")[1])
    return [(clip["clip"], clip["verb"]) for clip in made["clips"]]


def test_a_renamed_series_buys_nothing_again(dailies: Run, tmp_path: Path) -> None:
    declarations = declarations_of(load_settings())
    with open_ledger(load_settings()) as ledger:
        decide(ledger, [declarations.render(declarations.find("bay-2026-11-20-east"))], Decision("first"))
    before = verbs(dailies, "bay")
    assert before == [("bay-2026-11-20-east", "adopt"), ("bay-2026-11-20-west", "buy")]
    code, out, _ = dailies("rename", "bay", "coast")
    assert code == 0
    assert "nothing is bought again" in out
    text = (tmp_path / "data" / "series" / "coast.yaml").read_text()
    assert text.startswith("# the bay\nname: coast\nkeys: bay\n")
    assert not (tmp_path / "data" / "series" / "bay.yaml").exists()
    assert verbs(dailies, "coast") == before
    assert dailies("prompt", "bay-2026-11-20-east")[0] == 0


def test_renaming_without_the_command_would_buy_again(dailies: Run, tmp_path: Path) -> None:
    """The negative control."""
    file = tmp_path / "data" / "series" / "bay.yaml"
    declarations = declarations_of(load_settings())
    with open_ledger(load_settings()) as ledger:
        (decided,) = decide(
            ledger, [declarations.render(declarations.find("bay-2026-11-20-east"))], Decision("first")
        )
        assert decided.attempt is not None
        with ledger.write() as connection:
            connection.execute(sa.update(attempts).values(state="delivered"))
    file.write_text(file.read_text().replace("name: bay\n", "name: coast\n"))
    assert [verb for _, verb in verbs(dailies, "coast")] == ["buy", "buy"]
    (warning,) = json.loads(dailies("plan", "coast", "--date", "2026-11-20", "--json")[1])["warnings"]
    assert "1 of the clips of coast were delivered as clips of bay" in warning
    assert "`keys: bay`" in warning


def test_a_series_that_is_renamed_twice_keeps_its_first_keys(dailies: Run, tmp_path: Path) -> None:
    assert dailies("rename", "bay", "coast")[0] == 0
    assert dailies("rename", "coast", "shore")[0] == 0
    assert (tmp_path / "data" / "series" / "shore.yaml").read_text().count("keys: bay\n") == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("bya", "coast", ("no series 'bya'", "did you mean 'bay'?")),
        ("bay", "bay", ("is the name of another series",)),
        ("bay", "The Coast", ("is no name", "lower-case letters")),
        ("bay", "2026-11-20", ("looks like a date", "Nothing was changed")),
    ],
)
def test_an_invalid_name_is_refused_and_nothing_changes(
    dailies: Run, tmp_path: Path, old: str, new: str, words: tuple[str, ...]
) -> None:
    file = tmp_path / "data" / "series" / "bay.yaml"
    before = file.read_text()
    code, _, err = dailies("rename", old, new)
    assert code == 2
    assert all(word in err for word in words), err
    assert file.read_text() == before


def test_two_series_never_share_the_start_of_their_keys(dailies: Run, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "series"
    text = (folder / "bay.yaml").read_text()
    (folder / "coast.yaml").write_text(text.replace("name: bay\n", "name: coast\nkeys: bay\n"))
    code, _, err = dailies("check")
    assert code == 2
    assert "coast.yaml:3: keys: found 'bay' - is already the start of the keys of the series bay" in err


def test_a_prompt_that_contains_the_name_is_pointed_out(dailies: Run, tmp_path: Path) -> None:
    file = tmp_path / "data" / "series" / "bay.yaml"
    file.write_text(file.read_text().replace("A quiet view", "The {{ series }}, a quiet view"))
    assert "the prompts of 2 clips say the name of the series" in dailies("rename", "bay", "coast")[2]


def spend_cap(tmp_path: Path, name: str, dollars: float) -> None:
    file = tmp_path / "data" / "series" / f"{name}.yaml"
    file.write_text(f"{file.read_text()}budget: {{total: {dollars}}}\n")


def test_money_spent_under_former_names_counts_in_the_caps(dailies: Run, tmp_path: Path) -> None:
    declarations = declarations_of(load_settings())
    with open_ledger(load_settings()) as ledger:
        decide(ledger, [declarations.render(declarations.find("bay-2026-11-20-east"))], Decision("first"))
    spend_cap(tmp_path, "bay", 2)
    assert dailies("rename", "bay", "coast")[0] == 0
    _, _, said = dailies("rename", "coast", "shore")
    assert "the money spent under coast counts in the caps of shore" in said
    assert verbs(dailies, "shore") == [("bay-2026-11-20-east", "adopt"), ("bay-2026-11-20-west", "refuse")]
    declarations = declarations_of(load_settings())
    west = declarations.render(declarations.find("bay-2026-11-20-west"))
    with open_ledger(load_settings()) as ledger:
        (refused,) = decide(ledger, [west], Decision("second"))
        assert "$1.20 is spent or reserved" in (refused.reason or "")
        # the negative control: a series that never had the name begins at zero
        (bought,) = decide(
            ledger, [west.model_copy(update={"series": "strand", "keys": None})], Decision("third")
        )
        assert bought.attempt is not None


def test_money_spent_counts_in_the_caps_of_a_series_renamed_by_hand(dailies: Run, tmp_path: Path) -> None:
    declarations = declarations_of(load_settings())
    with open_ledger(load_settings()) as ledger:
        decide(ledger, [declarations.render(declarations.find("bay-2026-11-20-east"))], Decision("first"))
    # the way that a plan recommends if a renamed series' clips would be bought again
    file = tmp_path / "data" / "series" / "bay.yaml"
    file.write_text(file.read_text().replace("name: bay\n", "name: shore\nkeys: bay\n"))
    spend_cap(tmp_path, "bay", 2)
    assert verbs(dailies, "shore") == [("bay-2026-11-20-east", "adopt"), ("bay-2026-11-20-west", "refuse")]
    declarations = declarations_of(load_settings())
    west = declarations.render(declarations.find("bay-2026-11-20-west"))
    with open_ledger(load_settings()) as ledger:
        (refused,) = decide(ledger, [west], Decision("second"))
        assert "$1.20 is spent or reserved" in (refused.reason or "")


def test_a_series_that_gets_its_name_back_counts_once(dailies: Run, tmp_path: Path) -> None:
    declarations = declarations_of(load_settings())
    with open_ledger(load_settings()) as ledger:
        decide(ledger, [declarations.render(declarations.find("bay-2026-11-20-east"))], Decision("first"))
    assert dailies("rename", "bay", "coast")[0] == 0
    assert dailies("rename", "coast", "bay")[0] == 0
    spend_cap(tmp_path, "bay", 2.40)
    assert verbs(dailies, "bay") == [("bay-2026-11-20-east", "adopt"), ("bay-2026-11-20-west", "buy")]


def test_when_the_ledger_cannot_record_a_rename_the_series_stays(
    dailies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (tmp_path / "data" / "series" / "bay.yaml").read_text()
    monkeypatch.setenv("DAILIES_LEDGER_URL", f"sqlite:///{tmp_path}/nowhere/ledger.db")
    (tmp_path / "nowhere").write_text("no folder")
    assert dailies("rename", "bay", "coast")[0] == 2
    assert (tmp_path / "data" / "series" / "bay.yaml").read_text() == text
    assert not (tmp_path / "data" / "series" / "coast.yaml").exists()


@pytest.mark.parametrize("step", ["rename", "write_text", "replace"])
def test_a_rename_that_is_killed_leaves_a_valid_series_and_finishes_when_repeated(
    dailies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    declarations = declarations_of(load_settings())
    with open_ledger(load_settings()) as ledger:
        decide(ledger, [declarations.render(declarations.find("bay-2026-11-20-east"))], Decision("first"))
    spend_cap(tmp_path, "bay", 2)
    with monkeypatch.context() as patch:

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(Path, step, killed)
        assert dailies("rename", "bay", "coast")[0] != 0
    found = declarations_of(load_settings())
    assert ([*found.series], found.problems) == (["bay"], [])
    assert dailies("rename", "bay", "coast")[0] == 0
    assert [file.name for file in (tmp_path / "data" / "series").glob("*.yaml")] == ["coast.yaml"]
    assert verbs(dailies, "coast") == [("bay-2026-11-20-east", "adopt"), ("bay-2026-11-20-west", "refuse")]


def test_a_rename_that_is_killed_after_the_ledger_moves_no_money(dailies: Run, tmp_path: Path) -> None:
    """The ledger knows the new name, and the file still has the old one: the caps of the old one hold."""
    declarations = declarations_of(load_settings())
    with open_ledger(load_settings()) as ledger:
        decide(ledger, [declarations.render(declarations.find("bay-2026-11-20-east"))], Decision("first"))
        with ledger.write() as connection:
            record_rename(connection, "bay", "coast")
    spend_cap(tmp_path, "bay", 2)
    assert verbs(dailies, "bay") == [("bay-2026-11-20-east", "adopt"), ("bay-2026-11-20-west", "refuse")]
