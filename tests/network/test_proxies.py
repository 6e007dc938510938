"""The variables that name proxies, read as curl and Python read them."""

import pytest

from resources.errors import ConfigurationError
from resources.network.proxies import Exemption, Proxies, Proxy, is_loopback

PROXY = {"HTTPS_PROXY": "http://proxy.corp:8080", "HTTP_PROXY": "http://proxy.corp:8081"}


def led(environment: dict[str, str], url_host: str = "api.example.com", port: int = 443) -> str:
    way = Proxies.of(environment).proxy_for("http" if port == 80 else "https", url_host, port)
    return str(way)


@pytest.mark.parametrize(
    ("environment", "to"),
    [
        ({}, "None"),
        ({"HTTPS_PROXY": "http://proxy.corp:8080"}, "http://proxy.corp:8080"),
        ({"https_proxy": "http://proxy.corp:8080"}, "http://proxy.corp:8080"),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:2"}, "http://lower:2"),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": ""}, "None"),
        ({"ALL_PROXY": "http://all:3"}, "http://all:3"),
        ({"ALL_PROXY": "http://all:3", "HTTPS_PROXY": "http://own:4"}, "http://own:4"),
        ({"HTTP_PROXY": "http://plain:5"}, "None"),
        ({"HTTPS_PROXY": "proxy.corp:8080"}, "http://proxy.corp:8080"),
        ({"HTTPS_PROXY": "http://proxy.corp"}, "http://proxy.corp:80"),
        ({"HTTPS_PROXY": "https://proxy.corp/"}, "https://proxy.corp:443"),
        ({"HTTPS_PROXY": "http://[2001:db8::1]:3128"}, "http://[2001:db8::1]:3128"),
        # a scheme that is certainly not https is ignored: the variable is another program's
        ({"HTTPS_PROXY": "http://own:4", "ALL_PROXY": "socks5://127.0.0.1:1080"}, "http://own:4"),
    ],
)
def test_the_variable_that_counts_for_https(environment: dict[str, str], to: str) -> None:
    assert led(environment) == to


def test_plain_http_has_its_own_variable() -> None:
    assert led(PROXY, port=80) == "http://proxy.corp:8081"


@pytest.mark.parametrize(
    ("entry", "host", "port", "exempt"),
    [
        ("*", "api.example.com", 443, True),
        ("example.com", "api.example.com", 443, True),
        ("example.com", "example.com", 443, True),
        (".example.com", "api.example.com", 443, True),
        (".example.com", "example.com", 443, True),
        ("*.example.com", "api.example.com", 443, True),
        ("EXAMPLE.com", "api.Example.COM.", 443, True),
        ("example.com", "badexample.com", 443, False),
        ("api.example.com", "example.com", 443, False),
        ("example.com:443", "api.example.com", 443, True),
        ("example.com:8443", "api.example.com", 443, False),
        ("10.0.0.0/8", "10.20.30.40", 443, True),
        ("10.0.0.0/8", "11.20.30.40", 443, False),
        ("10.20.30.40", "10.20.30.40", 443, True),
        ("10.20.30.40:9000", "10.20.30.40", 9000, True),
        ("10.20.30.40:9000", "10.20.30.40", 443, False),
        ("2001:db8::/32", "[2001:db8::7]", 443, True),
        ("2001:db8::7", "2001:db8:0::7", 443, True),
        ("[2001:db8::7]:9000", "2001:db8::7", 9000, True),
        ("[2001:db8::7]:9000", "2001:db8::7", 443, False),
        ("10.0.0.0/8", "::ffff:10.1.1.1", 443, True),
        ("0.10.in-addr", "10.0.0.1", 443, False),
    ],
)
def test_hosts_that_are_exempt_from_the_proxy(entry: str, host: str, port: int, exempt: bool) -> None:
    way = Proxies.of({**PROXY, "NO_PROXY": f"first.example, {entry} last.example"}).way_to(
        "https", host, port
    )
    assert isinstance(way, Exemption if exempt else Proxy)


def test_an_unreadable_entry_is_reported_and_exempts_nothing() -> None:
    proxies = Proxies.of({**PROXY, "no_proxy": "192.168.*,<local>,ok.example"})
    assert proxies.unread == ("192.168.*", "<local>")
    assert [exemption.written for exemption in proxies.exemptions] == ["ok.example"]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.8.8",
        "localhost",
        "a.localhost",
        "::1",
        "[::1]",
        "0x7f.1",
        "0.0.0.0",
        "::ffff:127.0.0.1",
    ],
)
def test_no_proxy_is_used_for_this_machine(host: str) -> None:
    assert is_loopback(host)
    assert led(PROXY, host) == "None"


@pytest.mark.parametrize(
    "value", ["socks5://127.0.0.1:1080", "socks5h://user:s3cret@proxy:1080", "SOCKS4://x:1"]
)
def test_a_socks_proxy_is_refused_with_a_clear_error_where_it_would_be_used(value: str) -> None:
    proxies = Proxies.of({"ALL_PROXY": value})
    assert proxies.proxy_for("https", "127.0.0.1", 443) is None
    with pytest.raises(
        ConfigurationError, match=r"ALL_PROXY names a SOCKS proxy.*HTTPS_PROXY=.*Nothing was bought"
    ) as caught:
        proxies.proxy_for("https", "api.example.com", 443)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["http://user:s3cret@", "http://proxy:notaport", "ftp://s3cret:21", "http://a b", "http://[::1"]
)
def test_an_invalid_address_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY is not the address of a proxy") as caught:
        led({"HTTPS_PROXY": value})
    assert "s3cret" not in str(caught.value)


def test_a_login_that_could_not_be_sent_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigurationError, match="ASCII") as caught:
        led({"HTTPS_PROXY": "http://user:%C3%B6-s3cret@proxy:1"})
    assert "s3cret" not in str(caught.value)


def test_a_proxys_text_never_shows_its_password() -> None:
    proxies = Proxies.of({"HTTPS_PROXY": "http://user:p%40ss%2Fword@proxy.corp:8080"})
    proxy = proxies.proxy_for("https", "api.example.com", 443)
    assert proxy is not None
    assert (proxy.user, proxy.password) == ("user", "p@ss/word")
    assert proxy.url == "http://user:p%40ss%2Fword@proxy.corp:8080"
    said = f"{proxy} {proxy!r} {proxies!r} {proxy.refusal(407, 'api.example.com', 443)}"
    assert "word" not in said.replace("password", "")
    assert "user:" not in said
