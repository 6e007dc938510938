"""Text from outside loses everything that may be a signature before it is shown anywhere."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.plain import addresses_cut, fit, legible, name, shown, without_queries

WORDS = st.text(alphabet="abc /:.-()<>'\"\n", max_size=40)
SECRET = st.text(alphabet="abcdefABCDEF0123456789%=&", min_size=6, max_size=30)


@given(before=WORDS, secret=SECRET, after=WORDS)
def test_no_query_of_an_address_survives(before: str, secret: str, after: str) -> None:
    text = f"{before} https://cdn.test/a.mp4?X-Amz-Signature=Q{secret} {after}"
    assert f"Q{secret}" not in without_queries(text)
    assert "https://cdn.test/a.mp4" in without_queries(text)


@given(secret=SECRET)
def test_no_password_of_an_address_survives(secret: str) -> None:
    assert f"Q{secret}" not in without_queries(f"see http://user:Q{secret.replace('/', '')}@host.test/x?y=1")
    assert f"Q{secret}" not in without_queries(f"see http://user:Q{secret}@host.test/x")


def test_text_without_addresses_stays() -> None:
    text = "Is it 3:2? Yes; 16:9 & more #1"
    assert without_queries(text) == text


def test_a_long_text_is_cut_and_control_characters_are_gone() -> None:
    assert shown("a\x00b\u202ec") == "a b c"
    assert shown("x" * 50, longest=10) == "x" * 9 + "\u2026"
    assert shown(None) == ""


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("see https://user:pw@host.test:8443/a.mp4?X-Sig=1#f.", "see https://host.test:8443/a.mp4"),
        ('{"url":"https:\\/\\/cdn.test\\/a.mp4?X-Sig=1"}', '{"url":"https:\\/\\/cdn.test\\/a.mp4"}'),
        ("https%3A%2F%2Fcdn.test%2Fa.mp4%3Fsig%3D1 is gone", "https%3A%2F%2Fcdn.test%2Fa.mp4 is gone"),
        ("postgresql://me:p@ss@db.test/x", "postgresql://db.test/x"),
        ("postgresql://me:p/ss@db.test/x", "postgresql://…"),
        ("postgresql://me:p?ss@db.test/x", "postgresql://…"),
        ("redis://:secret@db.test", "redis://db.test"),
        ("at https://[2606:4700::1]:80/x?y, or https://a.test:99: no", "at https://[2606:4700::1]:80/x or https://a.test:99: no"),
    ],
)  # fmt: skip
def test_an_address_keeps_its_place_and_nothing_secret(text: str, kept: str) -> None:
    assert without_queries(text) == kept


@pytest.mark.parametrize(
    "piece", ["https://", "http://a@", "://", ":/", "%3a%2f%2f", "https://x/?", "https://u:", "https://[", "@", "%", "https:\\/\\/", "."]
)  # fmt: skip
def test_a_hostile_text_is_read_once(piece: str) -> None:
    began = time.process_time()
    for text in (piece * 30_000, "https://" + piece * 30_000 + ":x", piece * 30_000 + " ? "):
        without_queries(text)
    # CPU seconds: quadratic time took a hundred of them
    assert time.process_time() - began < 5


@given(st.text(max_size=300))
def test_nothing_invisible_is_shown(text: str) -> None:
    for clean in (shown(text), name(text), legible(text)):
        assert all(unicodedata.category(char)[0] not in "CZ" or char in " \n\t" for char in clean)
        clean.encode()
    assert legible(text, lines=False).isprintable()
    fit(text).encode()


def test_a_lookalike_name_is_marked_and_a_cut_name_shows_its_length() -> None:
    assert name("openai/sora-2") == "openai/sora-2"
    assert name("openai/sora-2\u200b") == "openai/sora-2\ufffd"
    assert name("a\x1b[31mb\u202e\ud800") == "a\ufffd[31mb\ufffd\ufffd"
    assert name("x" * 50_000) == "x" * 200 + "… (50,000 characters)"


def test_a_document_loses_every_signature_and_nothing_else() -> None:
    document = {"a": ["https://x.test/1?sig=1", 5, None], "b\x00": {"c": "\x1b", "d": "two\nlines"}}
    assert addresses_cut(document) == {
        "a": ["https://x.test/1", 5, None],
        "b\ufffd": {"c": "\ufffd", "d": "two\nlines"},
    }
