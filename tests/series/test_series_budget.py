"""The budget of a series: amounts as people write them, and the resulting caps."""

from pathlib import Path

import pytest

from resources.catalogue import Catalogue
from resources.money import usd
from resources.orders import Caps
from resources.series import Declarations, load_series

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
CITY = """\
name: city
endpoint: openai/sora-2/text-to-video
allow_retired: true
prompt: A street.
clips: [{name: hero}]
"""


def load(folder: Path, budget: str) -> Declarations:
    (folder / "series").mkdir()
    (folder / "series" / "city.yaml").write_text(f"{CITY}budget: {budget}\n")
    return load_series(folder, CATALOGUE)


def caps(declarations: Declarations) -> Caps:
    assert declarations.problems == []
    (clip,) = declarations.series["city"].clips()
    return declarations.render(clip).caps


@pytest.mark.parametrize("amount", ["12.50", '"12.50"', "12.5", "1.25e1"])
def test_an_amount_is_read_as_it_is_written(tmp_path: Path, amount: str) -> None:
    assert caps(load(tmp_path, f"{{per_day: {amount}}}")) == Caps(per_day=usd("12.50"))


def test_every_period_has_its_own_cap(tmp_path: Path) -> None:
    declarations = load(tmp_path, "{per_run: 1, per_day: 0.1, per_month: 30, total: 100}")
    assert caps(declarations) == Caps(per_run=usd(1), per_day=usd("0.10"), per_month=usd(30), total=usd(100))


@pytest.mark.parametrize(
    "amount", ["-1", "true", "ten", "$10", ".nan", ".inf", "1e99", "[1]", '""', "0.0000001"]
)
def test_an_invalid_amount_is_refused_in_its_place(tmp_path: Path, amount: str) -> None:
    (problem,) = load(tmp_path, f"{{per_day: {amount}}}").problems
    assert "city.yaml:6" in str(problem)
    assert "budget.per_day" in str(problem)
    assert "an amount of US dollars" in str(problem)


def test_an_unknown_period_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (problem,) = load(tmp_path, "{per_dya: 1}").problems
    assert "per_day" in str(problem)


def test_a_budget_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    declarations = load(tmp_path, "{per_day: 1}")
    (clip,) = declarations.series["city"].clips()
    request = declarations.render(clip)
    assert request.fingerprint == request.model_copy(update={"caps": Caps()}).fingerprint
