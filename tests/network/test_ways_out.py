"""Checks of the network before anything is bought, and doctor's table of every connection."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from corporate import Corporation, corporation, without_proxies
from raw_server import RawServer, answering

from pipelines.cli.doctor import Examination, document, show
from pipelines.cli.terminal import console
from resources.errors import ConfigurationError
from resources.inventory.ways_out import open_ways, route_of, ways_out
from resources.network.way_out import Network
from resources.production.output_hosts import OutOfReachError, check_outputs
from resources.providers.accounts import AccountSettings
from resources.providers.registry import spec_of
from resources.settings import load_settings, pinned
from resources.storage.download_policy import DownloadPolicy

PROXY = Network.of({"HTTPS_PROXY": "http://robot:canary@proxy.corp:8080", "NO_PROXY": ".corp.test"})


def account(base_url: str = spec_of("wavespeed").url) -> AccountSettings:
    return AccountSettings(name="wavespeed", provider="wavespeed", base_url=base_url)


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Addresses by the end of a name; other names have none."""
    answers: dict[str, str] = {}
    original = socket.getaddrinfo

    def look_up(host: str, port: int, *rest: Any, **options: Any) -> Any:
        address = next((to for end, to in answers.items() if host.endswith(end)), None)
        if address is None and not host[0].isdigit():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return original(address or host, port, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers


@pytest.mark.parametrize("address", ["198.18.0.7", "198.19.255.1", "0.0.0.0", "10.0.0.1"])
def test_outputs_that_could_not_be_fetched_are_not_bought(resolve: dict[str, str], address: str) -> None:
    resolve[".cloudfront.net"] = address
    with pytest.raises(OutOfReachError, match=r"cloudfront\.net.*Nothing was bought") as caught:
        check_outputs([account()], DownloadPolicy())
    # the printed line can be pasted into .env, and is then sufficient
    line = str(caught.value).partition("DAILIES_ALLOWED_ORIGINS=")[2].partition(". Nothing")[0]
    check_outputs([account()], DownloadPolicy(allowed_origins=frozenset(line.split(","))))


def test_a_fake_address_is_explained(resolve: dict[str, str]) -> None:
    resolve[""] = "198.18.0.7"
    with pytest.raises(OutOfReachError, match=r"a VPN .* fake addresses .*HTTPS_PROXY"):
        check_outputs([account()], DownloadPolicy())
    # the VPN's own proxy resolves names itself
    check_outputs([account()], DownloadPolicy(network=PROXY))


def test_an_unknown_result_refuses_nothing(resolve: dict[str, str]) -> None:
    check_outputs([account()], DownloadPolicy())  # no name resolves: the name server may be down for a moment
    resolve[""] = "93.184.215.14"
    check_outputs([account()], DownloadPolicy())
    resolve[""] = "198.18.0.7"
    check_outputs([account("http://127.0.0.1:8700")], DownloadPolicy())  # the sandbox names its own outputs


def test_a_proxy_that_outputs_could_not_use_is_found_before_buying(resolve: dict[str, str]) -> None:
    network = Network.of({"HTTPS_PROXY": "socks5://127.0.0.1:1", "NO_PROXY": "api.wavespeed.ai"})
    with pytest.raises(OutOfReachError, match="SOCKS"):
        check_outputs([account()], DownloadPolicy(network=network))


@pytest.mark.parametrize(
    ("url", "how"),
    [
        ("https://api.example.com", "http://proxy.corp:8080 (HTTPS_PROXY)"),
        ("https://s3.corp.test", "direct (NO_PROXY: .corp.test)"),
        ("http://api.example.com", "direct"),
        ("http://127.0.0.1:3000", "this machine"),
        ("http://[::1]:3000", "this machine"),
    ],
)
def test_the_way_to_a_host_is_named(url: str, how: str) -> None:
    assert route_of(url, PROXY) == how


@pytest.fixture
def provider() -> Iterator[RawServer]:
    with answering(b"") as server:
        yield server


@pytest.fixture
def company(tmp_path: Path, provider: RawServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Corporation]:
    with corporation(tmp_path, login="robot:canary") as made:
        for name in without_proxies():
            monkeypatch.delenv(name)
        port = int(provider.origin.rpartition(":")[2])
        values = {
            **made.environment,
            "DAILIES_ENV_FILE": "",
            "DAILIES_HOME": str(tmp_path / "home"),
            "WAVESPEED_API_KEY": "key",
            "DAILIES_WAVESPEED_URL": made.serve("a-long-name-of-a-provider.subsidiary.corp.test", port),
            "DAILIES_S3_BUCKET": "clips",
            "DAILIES_S3_ENDPOINT": made.serve("s3.corp.test", port),
            "DAILIES_ALARM_URL": f"{made.serve('alarms.corp.test', port)}/alarm-secret",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        yield made


def test_every_connection_is_tried_and_nothing_is_sent(company: Corporation, provider: RawServer) -> None:
    ways = ways_out(load_settings())
    assert [(way.client, way.problem) for way in ways] == [
        (client, "") for client in ("wavespeed", "bucket", "alarms", "Dagster")
    ]
    assert open_ways(ways).is_fine
    assert len(company.proxy.asked) == 3
    assert all(not request for request in provider.requests)


def test_a_blocked_connection_is_a_finding(company: Corporation, monkeypatch: pytest.MonkeyPatch) -> None:
    company.proxy.refuses["s3.corp.test"] = 403
    del company.proxy.places["alarms.corp.test"]
    monkeypatch.setenv("NO_PROXY", ".subsidiary.corp.test")
    problems = {way.client: way.problem for way in ways_out(load_settings())}
    assert "(403)" in problems["bucket"]
    assert "(502)" in problems["alarms"]
    assert "cannot be resolved" in problems["wavespeed"]
    finding = open_ways(ways_out(load_settings()))
    assert finding.number == 3
    assert "alarm-secret" not in str(finding.sample)
    assert "alarms.corp.test" not in str(finding.sample)


def test_an_untrusted_authority_is_a_finding(company: Corporation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    problems = {way.client: way.problem for way in ways_out(load_settings())}
    assert "unable to get local issuer certificate" in problems["wavespeed"]


def test_doctor_shows_the_connections_in_80_columns_without_secrets(
    company: Corporation, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings()
    ways = ways_out(settings)
    done = Examination([open_ways(ways)], [], ways=ways, certificates=str(settings.network.trust))
    monkeypatch.setattr(console, "width", 80)
    with console.capture() as captured:
        show(done)
    shown = captured.get()
    table = shown.partition("way out to")[2].partition("certificates")[0]
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "HTTPS_PROXY" in shown
    assert f"{company.authority.file} (SSL_CERT_FILE)" in shown
    for secret in ("canary", "robot", "alarm-secret", "alarms.corp.test"):
        assert secret not in f"{shown} {document(done)}"


def test_settings_refuse_unusable_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in without_proxies():
        monkeypatch.delenv(name)
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_ALLOWED_ORIGINS", "https://ok.example,https://*.example.com")
    with pytest.raises(ConfigurationError, match=r"DAILIES_ALLOWED_ORIGINS: .*wildcards"):
        load_settings()
    monkeypatch.setenv("DAILIES_ALLOWED_ORIGINS", "")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(ConfigurationError, match=r"SSL_CERT_FILE names /nowhere\.pem"):
        load_settings()


def test_the_settings_file_counts_where_the_environment_has_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in without_proxies():
        monkeypatch.delenv(name)
    file = tmp_path / "settings"
    file.write_text("https_proxy=http://of-file:1\nHTTP_PROXY=http://of-file:2\n")
    monkeypatch.setenv("DAILIES_ENV_FILE", str(file))
    monkeypatch.setenv("HTTPS_PROXY", "http://of-environment:3")
    network = load_settings().network
    assert str(network.proxy_to("https://api.example.com")) == "http://of-environment:3"
    assert str(network.proxy_to("http://api.example.com")) == "http://of-file:2"
    # Dagster's commands put the file over the environment: the values that `dailies up` has seen override both
    monkeypatch.setenv("DAILIES_PINNED", pinned({"https_proxy": "http://of-up:4", "OTHER": "x"}))
    assert str(load_settings().network.proxy_to("https://api.example.com")) == "http://of-up:4"
    monkeypatch.setenv("DAILIES_PINNED", pinned({"https_proxy": ""}))
    assert load_settings().network.proxy_to("https://api.example.com") is None
