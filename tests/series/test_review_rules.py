"""The reasons to reject a take and people's rights, as a team declares them."""

from pathlib import Path

import pytest

from resources.declared.problems import ProblemsError
from resources.errors import ConfigurationError
from resources.series.review_rules import DEFAULT_REASONS, Right, load_review_rules


def test_without_a_file_there_are_default_reasons_and_others_may_only_look(tmp_path: Path) -> None:
    rules = load_review_rules(tmp_path)
    assert tuple(rules.reasons) == DEFAULT_REASONS
    assert rules.right_of("anybody") is Right.LOOK


def test_a_team_declares_its_own_reasons_and_rights(tmp_path: Path) -> None:
    (tmp_path / "review.yaml").write_text(
        "reasons:\n  - {name: off-brand, letter: o, title: Off brand}\npeople:\n  mara: buy\n  '*': judge\n"
    )
    rules = load_review_rules(tmp_path)
    assert rules.check_reasons(["off-brand", "off-brand"]) == ("off-brand",)
    assert (rules.right_of("mara"), rules.right_of("tom")) == (Right.BUY, Right.JUDGE)
    with pytest.raises(ConfigurationError, match="did you mean 'off-brand'"):
        rules.check_reasons(["off-brnd"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("reasons: []\n", "reasons"),
        ("reasons: [{name: a, letter: o, title: A}, {name: b, letter: o, title: B}]\n", "same letter"),
        ("people: {mara: own}\n", "people.mara: found 'own', allowed: look, judge or buy"),
        (
            "people:\n  tom: look\n  mara: bye\n",
            "review.yaml:3: people.mara: found 'bye'.*did you mean 'buy'",
        ),
        ("people: {mara: [judge]}\n", "found a list, allowed: look"),
        ("reasons: [{name: a, letter: O, title: A}]\n", "allowed: one lower-case letter"),
        ("reasons: [{name: A B, letter: o, title: A}]\n", "name"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "review.yaml").write_text(text)
    with pytest.raises(ProblemsError, match=says):
        load_review_rules(tmp_path)


def test_rights_include_each_other() -> None:
    assert Right.BUY.includes(Right.LOOK)
    assert not Right.LOOK.includes(Right.JUDGE)
