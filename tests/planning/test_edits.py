"""Differences between two prompts."""

from hypothesis import assume, given
from hypothesis import strategies as st

from resources.planning.edits import word_changes

TEXTS = st.lists(st.sampled_from(["a", "ferry", "at", "dawn", "dusk,"]), max_size=6).map(" ".join)


@given(TEXTS, TEXTS)
def test_kept_and_removed_words_are_the_old_text_and_kept_and_added_words_the_new_one(
    before: str, after: str
) -> None:
    assume(before != after)
    found = list(word_changes(before, after))
    assert " ".join(words for kind, words in found if kind != "new") == before
    assert " ".join(words for kind, words in found if kind != "gone") == after


def test_only_the_words_near_a_change_are_shown() -> None:
    far = " ".join(f"word{n}" for n in range(40))
    assert list(word_changes(f"{far} dawn", f"{far} dusk")) == [
        ("same", "… word34 word35 word36 word37 word38 word39"),
        ("gone", "dawn"),
        ("new", "dusk"),
    ]
    assert list(word_changes(far, far)) == [("same", "…")]
