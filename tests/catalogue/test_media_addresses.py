"""Addresses of pictures, films and sounds in YAML: on the internet, without a password, and never shown with their query."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.catalogue import Catalogue
from resources.catalogue.media_addresses import address_mistake
from resources.declared.problems import ProblemsError

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
I2V = "openai/sora-2/image-to-video"


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/a.png",
        "http://example.com:8080/a.png?sig=1&b=@2#f",
        "https://8.8.8.8/a.png",
        "https://[2606:4700::6810:84e5]/a.png",
        "https://bücher.example/ä.png",
        "https://xn--bcher-kva.example?a=b",
        "https://1.example.com/a",
    ],
)
def test_an_address_on_the_internet_is_accepted(address: str) -> None:
    assert address_mistake(address) is None
    assert CATALOGUE.get(I2V).resolve("x", {"image": address})["image"] == address


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://user:canary@example.com/a.png", "user name or password"),
        ("https://canary@example.com/a.png", "user name or password"),
        ("https://@example.com/a.png", "user name or password"),
        ("https:///a.png", "no host"),
        ("https://", "no host"),
        ("https://:80/a.png", "no host"),
        ("https://?canary", "no host"),
        ("https://./a.png", "no host"),
        *[
            (f"http://{host}/a.png", "this machine or a private network")
            for host in (
                "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "127。0。0。1",
                "\N{FULLWIDTH DIGIT ONE}27.0.0.1", "0", "0.0.0.0", "10.0.0.1", "172.16.9.9", "192.168.1.1", "169.254.169.254", "100.64.0.1",
                "224.0.0.1", "255.255.255.255", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[fd00::1]",
                "[fe80::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "localhost", "LOCALHOST", "localhost.", "a.localhost",
                "metadata.google.internal", "printer.local", "nas.home.arpa", "127.0.0.1:8080", "999.1.1.1", "1.2.3.4.5",
            )
        ],
        ("https://exa mple.com/a.png", "without spaces"),
        ("https://example.com\\@127.0.0.1/a.png", "without spaces"),
        ("https://example.com/\x1b", "without spaces"),
        ("https://example.com/\u202egnp", "without spaces"),
        ("https://" + "a" * 3000, "at most 2048"),
        ("https://example.com:99999/", "cannot be read"),
        ("https://example.com:port/", "cannot be read"),
        ("https://[::1/a.png", "cannot be read"),
        ("https://exa%6dple.com/", "cannot be read"),
        ("ftp://example.com/a.png?canary", "at most 2048"),
    ],
)  # fmt: skip
def test_every_other_address_is_refused_without_showing_secrets(address: str, says: str) -> None:
    assert says in str(address_mistake(address))
    with pytest.raises(ProblemsError, match=r"parameters\.image") as refused:
        CATALOGUE.get(I2V).resolve("x", {"image": address})
    assert "canary" not in str(refused.value)
    assert "allowed: an address that begins with https:// or http://, on the internet" in str(refused.value)
    assert str(refused.value).isprintable()


@given(st.text(max_size=40), st.sampled_from(["https://", "http://", ""]))
def test_no_text_raises_an_unforeseen_error_in_the_check(text: str, scheme: str) -> None:
    mistake = address_mistake(scheme + text)
    assert mistake is None or mistake.isprintable()
