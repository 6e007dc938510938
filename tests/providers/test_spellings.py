"""A secret is hidden in every spelling, in time that grows linearly with the text."""

import base64
import html
import json
import time
import urllib.parse
from collections.abc import Callable

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.providers.answers import Scrubber
from resources.spellings import Spellings

KEY = "canary-7f3a91c0de5e+11ab/42"

PERCENT: list[Callable[[str], str]] = [
    lambda text: urllib.parse.quote(text, safe=""),
    lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    lambda text: "".join(f"%{byte:02X}" if byte % 2 else chr(byte) for byte in text.encode()),
]
ESCAPES: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: text.replace("/", "\\/"),
    lambda text: json.dumps(text.replace("/", "\\/"))[1:-1],
    lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    lambda text: "".join(f"\\u{ord(char):04X}" for char in text),
    lambda text: "".join(f"\\x{ord(char):02x}" for char in text),
    html.escape,
    lambda text: "".join(f"&#{ord(char)};" for char in text),
    lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    *PERCENT,
    lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
]
ENCODINGS: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: base64.b64encode(text.encode()).decode(),
    lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    lambda text: text.encode().hex(),
    lambda text: text.encode().hex().upper(),
]
# no character twice: a secret that repeats itself could begin at several places, and no key does
SECRETS = st.lists(
    st.sampled_from([chr(code) for code in range(33, 127)]), min_size=8, max_size=60, unique=True
).map("".join) | st.just(KEY)
AROUND = st.text(alphabet="abc XY-=/:", max_size=5)


@settings(max_examples=examples(60))
@given(
    secret=SECRETS,
    before=AROUND,
    after=AROUND,
    encode=st.sampled_from(ENCODINGS),
    escape=st.sampled_from(ESCAPES),
)
def test_every_spelling_is_hidden(
    secret: str, before: str, after: str, encode: Callable[[str], str], escape: Callable[[str], str]
) -> None:
    text = f"<{escape(encode(before + secret + after))}>"
    hidden = Spellings(secret).hide(text)
    assert "[key]" in hidden
    # the neighbours' text is left, and in base64 and hexadecimal a few bits of the secret's ends
    left = hidden.replace("[key]", "")
    for shift in range(3):
        core = encode("x" * shift + secret + "x" * 3)[4:-8]
        assert not any(escape(core[at : at + 12]) in left for at in range(len(core) - 11))


@pytest.mark.parametrize("length", [14, 20, 26])
def test_a_key_that_is_cut_off_is_hidden_too(length: int) -> None:
    assert Spellings(KEY).hide(f"bad key {KEY[:length]}... given") == "bad key [key]... given"


def test_a_text_that_only_begins_like_the_key_stays() -> None:
    assert Spellings(KEY).hide("canary-7f is no key") == "canary-7f is no key"
    assert Spellings("short").hide("short") == "short"


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", ["%25", "\\", "&#0", KEY[:13], "%2525", "Y2FuYXJ5", "%", "\\u006", KEY[:5], "&#x63;"]
)
def test_a_hostile_text_is_read_once(piece: str) -> None:
    began = time.process_time()
    Scrubber(KEY).hide(piece * (400_000 // len(piece)))
    assert time.process_time() - began < 5
