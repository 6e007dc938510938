"""What strangers wrote loses what may be a signature before it is shown anywhere."""

from hypothesis import given
from hypothesis import strategies as st

from resources.plain import shown, without_queries

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
