"""Clips chosen by filters."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proof.clock import Clock
from resources.catalogue import Catalogue
from resources.errors import ConfigurationError, DailiesError
from resources.ledger import queue
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.former_names import record_rename
from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts
from resources.planning import Chooser, Days, chosen_purchases
from resources.series import Declarations, load_series

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
HEAD = "parameters: {duration: 5}\nprompt: The {{ clip }}.\nclips: [{name: a}, {name: b}]\n"
SERIES = {
    "harbor": "endpoint: bytedance/seedance-2.0/text-to-video\ndated: true\ntags: {channel: bulletin}\nowner: team:weather\n",
    "harbor-night": "endpoint: bytedance/seedance-2.0/text-to-video\nschedule: {cron: 0 6 * * FRI}\ntags: {region: coast}\n",
    "loop": "endpoint: bytedance/seedance-2.0/text-to-video\nowner: me@example.com\n",
}
MIXED = """\
name: mixed
endpoint: bytedance/seedance-2.0/text-to-video
allow_retired: true
prompt: The {{ clip }}.
clips: [{name: one}, {name: other, endpoint: openai/sora-2/text-to-video}]
"""
WORDS = (
    "harbor",
    "harbor*",
    "loop",
    "loop-a",
    "*-a",
    "series:l*",
    "tag:channel",
    "tag:region=coast",
    "owner:team:*",
    "endpoint:bytedance/*",
    "state:new",
    "state:failed",
    "changed",
    "today",
    "yesterday",
    "2026-11-13..20",
)


@pytest.fixture(scope="module")
def declarations(tmp_path_factory: pytest.TempPathFactory) -> Declarations:
    folder = tmp_path_factory.mktemp("data")
    (folder / "series").mkdir()
    (folder / "series" / "mixed.yaml").write_text(MIXED)
    for name, more in SERIES.items():
        (folder / "series" / f"{name}.yaml").write_text(f"name: {name}\n{more}{HEAD}")
    found = load_series(folder, CATALOGUE)
    assert found.problems == []
    return found


@pytest.fixture(scope="module")
def ledger(
    declarations: Declarations, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ledger]:
    """A ledger in which `loop-a` and a clip of ten days ago have failed, and `loop-b` was bought with another request."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    path.write_bytes(sqlite_template.read_bytes())
    with Ledger(f"sqlite:///{path}", clock=Clock(NOW.timestamp()), budget=Budget()) as opened:
        for key in ("loop-a", "harbor-2026-11-10-b"):
            decide(opened, [declarations.render(declarations.find(key))], Decision(key))
            queue.withdraw(opened, [opened.latest([key])[key].id], why="test", run_id=None)
        request = declarations.render(declarations.find("loop-b"))
        body = {**request.body, "prompt": "another"}
        decide(opened, [request.model_copy(update={"body": body})], Decision("old"))
        yield opened


def keys(declarations: Declarations, ledger: Ledger, *words: str, days: Days | None = None) -> list[str]:
    return [clip.key for clip in Chooser(declarations, ledger, now=NOW, days=days).clips(words)]


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["harbor"], ["harbor-2026-11-20-a", "harbor-2026-11-20-b"]),
        (["harbor*,*-a"], ["harbor-night-2026-11-20-a", "harbor-2026-11-20-a"]),
        (["loop-b", "loop-a"], ["loop-b", "loop-a"]),
        (["harbor-2026-01-02-a"], ["harbor-2026-01-02-a"]),
        (["tag:channel=bulletin,yesterday,*-b"], ["harbor-2026-11-19-b"]),
        (["tag:coast,*-a,2026-11-10..20"], ["harbor-night-2026-11-13-a", "harbor-night-2026-11-20-a"]),
        (["owner:me@*", "loop"], ["loop-a", "loop-b"]),
        (["state:failed"], ["loop-a", "harbor-2026-11-10-b"]),
        (["state:failed,harbor"], ["harbor-2026-11-10-b"]),
        (["state:failed,today"], []),
        (["state:open"], ["loop-b"]),
        (["changed"], ["loop-b"]),
        (["loop,state:new"], []),
        (["loop,today"], []),
        (["harbor,today,yesterday"], []),
        (["endpoint:openai/*"], ["mixed-other"]),
        (["mixed,endpoint:bytedance/*"], ["mixed-one"]),
    ],
)
def test_filters_choose_clips(
    declarations: Declarations, ledger: Ledger, words: list[str], chosen: list[str]
) -> None:
    assert keys(declarations, ledger, *words) == chosen


def test_the_date_option_applies_to_filters_without_a_date(
    declarations: Declarations, ledger: Ledger
) -> None:
    days = Days(dt.date(2026, 12, 1), dt.date(2026, 12, 1))
    assert keys(declarations, ledger, "harbor,*-a", "harbor,*-a,today", days=days) == [
        "harbor-2026-12-01-a",
        "harbor-2026-11-20-a",
    ]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(60), deadline=None
)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
def test_spaces_add_and_commas_narrow(declarations: Declarations, ledger: Ledger, words: list[str]) -> None:
    alone = [set(keys(declarations, ledger, word)) for word in words]
    assert set(keys(declarations, ledger, *words)) == set().union(*alone)
    together = set(keys(declarations, ledger, ",".join(words)))
    assert together == set(keys(declarations, ledger, ",".join(reversed(words))))
    # a date or a state moves a filter to other days, so only filters for one kind of day can be compared
    if not any(word in {"state:failed", "today", "yesterday", "2026-11-13..20", "loop-a"} for word in words):
        assert together == set.intersection(*alone)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("habor", ("no series 'habor'", "harbor, harbor-night, loop, mixed", "did you mean 'harbor'?")),
        ("loop-c", ("loop-c", "did you mean 'loop-")),
        ("series:lop", ("no series fits 'series:lop'", "loop")),
        ("tag:costa", ("no series fits 'tag:costa'", "region=coast")),
        ("owner:nobody", ("no series fits 'owner:nobody'", "team:weather")),
        ("endpoint:sora", ("no series fits 'endpoint:sora'", "bytedance/")),
    ],
)
def test_a_filter_that_matches_nothing_is_named_with_the_existing_values(
    declarations: Declarations, ledger: Ledger, word: str, said: tuple[str, ...]
) -> None:
    with pytest.raises(DailiesError) as refused:
        keys(declarations, ledger, word)
    assert all(part in str(refused.value) for part in said), str(refused.value)


def test_a_clip_with_a_failed_take_beside_a_delivered_one_has_failed_and_is_delivered(
    declarations: Declarations, tmp_path: Path, sqlite_template: Path
) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(sqlite_template.read_bytes())
    with Ledger(f"sqlite:///{path}", clock=Clock(NOW.timestamp()), budget=Budget()) as ledger:
        request = declarations.render(declarations.find("loop-a")).model_copy(update={"takes": 2})
        decide(ledger, [request], Decision("two"))
        for slot, state in ((1, "delivered"), (2, "failed")):
            with ledger.write() as connection:
                connection.execute(sa.update(attempts).where(attempts.c.slot == slot).values(state=state))
        assert keys(declarations, ledger, "state:failed") == ["loop-a"]
        assert keys(declarations, ledger, "loop,state:failed") == ["loop-a"]
        assert keys(declarations, ledger, "loop,state:delivered") == ["loop-a"]
        assert keys(declarations, ledger, "loop,state:new") == ["loop-b"]


def test_the_same_filters_choose_among_bought_clips(declarations: Declarations, ledger: Ledger) -> None:
    def chosen(*words: str) -> set[str]:
        return {a.subject_key for a in chosen_purchases(ledger, words, today=NOW.date())}

    assert chosen() == {"loop-a", "loop-b", "harbor-2026-11-10-b"}
    assert chosen("state:failed,loop*", "2026-11-09..11") == {"loop-a", "harbor-2026-11-10-b"}
    assert chosen("tag:channel", "owner:me@example.com,state:open") == {"harbor-2026-11-10-b", "loop-b"}
    assert chosen("yesterday") == set()
    with ledger.write() as connection:
        record_rename(connection, "loop", "orbit")
        record_rename(connection, "orbit", "turn")
    for name in ("loop", "orbit", "turn", "tu*", "series:turn", "turn,state:failed"):
        assert chosen(name) == ({"loop-a"} if "failed" in name else {"loop-a", "loop-b"}), name
    assert chosen("turns") == set()
    with pytest.raises(ConfigurationError, match="dailies plan changed"):
        chosen("changed")
