"""The filters that choose clips: how they are read, and the error of a wrong one."""

import contextlib
import datetime as dt

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.errors import ConfigurationError
from resources.planning.selectors import STATES, Days, TermKind, parse

TODAY = dt.date(2026, 11, 20)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}\*?", fullmatch=True).filter(
    lambda name: name not in {"changed", "today", "yesterday", "tomorrow"}
)
DATES = st.dates(dt.date(2000, 1, 1), dt.date(2100, 1, 1)).map(str)
PARTS = st.one_of(
    NAMES,
    NAMES.map("series:{}".format),
    NAMES.map("tag:{}".format),
    st.tuples(NAMES, NAMES).map(lambda pair: f"tag:{pair[0]}={pair[1]}"),
    st.just("owner:team:weather"),
    st.just("endpoint:maker/model*"),
    st.sampled_from(STATES).map("state:{}".format),
    st.sampled_from(["changed", "today", "yesterday", "tomorrow", "yesterday..today"]),
    DATES,
    DATES.map(lambda day: f"{day}..{day}"),
)
WORDS = st.lists(st.lists(PARTS, min_size=1, max_size=4), max_size=4)


@settings(max_examples=examples(40))
@given(WORDS)
def test_every_filter_is_read_and_written_back_unchanged(words: list[list[str]]) -> None:
    found = parse([",".join(parts) for parts in words], today=TODAY)
    assert [[str(term) for term in selector] for selector in found] == words


@settings(max_examples=examples(40))
@given(WORDS, WORDS)
def test_filters_are_read_one_by_one(some: list[list[str]], others: list[list[str]]) -> None:
    one, two = ([",".join(parts) for parts in words] for words in (some, others))
    assert parse([*one, *two], today=TODAY) == [*parse(one, today=TODAY), *parse(two, today=TODAY)]


@given(st.text(alphabet="ab:.,*-20/= ", max_size=20))
def test_any_text_is_a_filter_or_refused_with_the_allowed_ones(word: str) -> None:
    with contextlib.suppress(ConfigurationError):
        (selector,) = parse([word], today=TODAY)
        assert ",".join(map(str, selector)) == word


@pytest.mark.parametrize(
    ("word", "first", "last"),
    [
        ("today", "2026-11-20", "2026-11-20"),
        ("yesterday", "2026-11-19", "2026-11-19"),
        ("2026-11-01..07", "2026-11-01", "2026-11-07"),
        ("2026-11-28..12-03", "2026-11-28", "2026-12-03"),
        ("2026-12-30..2027-01-02", "2026-12-30", "2027-01-02"),
        ("yesterday..tomorrow", "2026-11-19", "2026-11-21"),
    ],
)
def test_dates_and_ranges_are_read(word: str, first: str, last: str) -> None:
    ((term,),) = parse([word], today=TODAY)
    assert term.kind is TermKind.DATE
    assert term.days == Days(dt.date.fromisoformat(first), dt.date.fromisoformat(last))


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("tga:coast", ("'tga:'", "series:, tag:, owner:", "did you mean 'tag'?")),
        ("state:faild", ("'state:faild'", "failed, open, new", "did you mean 'failed'?")),
        ("tag:", ("'tag:'", "no value")),
        ("bay,,today", ("'bay,,today'", "comma")),
        ("bay,", ("'bay,'", "comma")),
        ("2026-11-31", ("2026-11-31 does not exist",)),
        ("2026-13-01..07", ("2026-13-01 does not exist",)),
        ("2026-11-07..01", ("ends before it begins",)),
        ("2026-11-01..soon", ("'soon' is no date", "yesterday")),
        ("..today", ("'nothing' is no date",)),
        ("2000-01-01..2026-01-01", ("longer than 1,000 days",)),
        ("bay!dawn$", ("'bay!dawn$'", "allowed: a series", "harbor-*")),
        ("Bay", ("'Bay'", "did you mean 'bay'?")),
        ("harbor_weather", ("did you mean 'harbor-weather'?",)),
        ("data/series/harbor-weather.yaml", ("did you mean 'harbor-weather'?",)),
        ("30.11.2026", ("a date is written as 2026-11-20",)),
        ("2026/11/30", ("a date is written as 2026-11-20",)),
        ("state=failed", ("write state:failed",)),
        ("owner=team:video", ("write owner:team:video",)),
    ],
)
def test_a_wrong_filter_is_named_with_the_allowed_values(word: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse([word], today=TODAY)
    assert all(part in str(refused.value) for part in words), str(refused.value)
