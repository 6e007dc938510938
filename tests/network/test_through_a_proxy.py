"""A proxy's effect on a purchase: its own answers prove that nothing was sent; a later failure proves nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from corporate import Corporation, corporation
from pydantic import SecretStr
from raw_server import RawServer, answering

from pipelines.cli.dagster_api import DagsterApi
from resources import alarms
from resources.alarms import AlarmNotSentError, Sender, trial_alarm
from resources.errors import ConfigurationError, UnavailableError
from resources.network.way_out import Network
from resources.providers.base import Accepted, JobState, NotSent, PollFailed, SubmitOutcome, Unknown
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed

HOST = "provider.corp.test"
LOGIN = "robot:p%40ss-canary"
CREATED = json.dumps({"code": 200, "data": {"id": "job-1", "status": "completed", "outputs": []}}).encode()
KEY = "key-of-wavespeed"


@pytest.fixture
def provider() -> Iterator[RawServer]:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with answering(head % len(CREATED) + CREATED) as server:
        yield server


@pytest.fixture
def company(tmp_path: Path, provider: RawServer) -> Iterator[Corporation]:
    with corporation(tmp_path) as made:
        made.serve(HOST, int(provider.origin.rpartition(":")[2]))
        yield made


def client(company: Corporation, **environment: str) -> WaveSpeed:
    network = Network.of({**company.environment, **environment})
    return WaveSpeed(Connection("wavespeed", f"https://{HOST}", KEY, network=network))


async def submit(company: Corporation, *, deadline: float = 20, **environment: str) -> SubmitOutcome:
    wavespeed = client(company, **environment)
    try:
        return await wavespeed.submit(
            "openai/sora-2/text-to-video", {"prompt": "x"}, submission_id="s-1", deadline_seconds=deadline
        )
    finally:
        await wavespeed.aclose()


async def test_a_purchase_goes_through_the_tunnel_and_the_proxy_sees_no_key(
    company: Corporation, provider: RawServer
) -> None:
    assert isinstance(await submit(company), Accepted)
    assert company.proxy.asked == [f"CONNECT {HOST}:443 HTTP/1.1"]
    assert len(provider.requests) == 1
    assert KEY.encode() in provider.requests[0]
    assert KEY.encode() not in b"".join(company.proxy.heads)


@pytest.mark.parametrize("status", [302, 403, 407, 429, 500, 502, 503, 504])
async def test_a_proxys_own_answer_proves_that_nothing_was_sent(
    company: Corporation, provider: RawServer, status: int
) -> None:
    company.proxy.refuses[HOST] = status
    outcome = await submit(company)
    assert isinstance(outcome, NotSent)
    assert f"({status})" in outcome.cause
    assert company.proxy.url in outcome.cause
    assert "<html" not in outcome.cause
    assert (company.arrived, provider.requests) == (0, [])


async def test_the_error_of_a_proxy_that_requires_a_login_names_the_variable(
    tmp_path: Path, company: Corporation
) -> None:
    company.proxy.login = LOGIN.replace("%40", "@")
    outcome = await submit(company, HTTPS_PROXY=company.proxy.url)
    assert isinstance(outcome, NotSent)
    assert "wants a user and a password: write them into HTTPS_PROXY" in outcome.cause
    wrong = await submit(company, HTTPS_PROXY=company.proxy.url.replace("://", "://robot:other-canary@"))
    assert isinstance(wrong, NotSent)
    assert "refuses the user and password in HTTPS_PROXY" in wrong.cause
    assert "canary" not in wrong.cause
    assert company.arrived == 0
    right = company.proxy.url.replace("://", f"://{LOGIN}@")
    assert isinstance(await submit(company, HTTPS_PROXY=right), Accepted)


async def test_a_tunnel_that_breaks_before_the_request_is_not_sent(
    company: Corporation, provider: RawServer
) -> None:
    company.proxy.cuts[HOST] = lambda sent: sent > 0  # within the TLS handshake
    assert isinstance(await submit(company), NotSent)
    assert provider.requests == []


async def test_a_tunnel_that_breaks_after_the_request_is_unknown(
    company: Corporation, provider: RawServer
) -> None:
    company.proxy.cuts[HOST] = lambda _sent: bool(provider.requests)
    outcome = await submit(company)
    assert isinstance(outcome, Unknown)
    assert "may have been received" in outcome.cause
    assert len(provider.requests) == 1


async def test_an_unusable_tunnel_frees_its_place_in_the_pool(
    company: Corporation, provider: RawServer
) -> None:
    wavespeed = client(company)
    company.proxy.cuts[HOST] = lambda sent: sent > 0
    for _ in range(40):  # the pool has 32 places
        failed = await wavespeed.poll("job-1", age_seconds=1)
        assert isinstance(failed, PollFailed)
        assert "PoolTimeout" not in failed.cause
    del company.proxy.cuts[HOST]
    assert isinstance(await wavespeed.poll("job-1", age_seconds=1), JobState)
    await wavespeed.aclose()


async def test_a_missing_proxy_means_not_sent(company: Corporation) -> None:
    outcome = await submit(company, HTTPS_PROXY="http://127.0.0.1:1")
    assert isinstance(outcome, NotSent)
    assert "the proxy http://127.0.0.1:1 of HTTPS_PROXY does not answer" in outcome.cause


async def test_a_silent_proxy_means_not_sent(company: Corporation) -> None:
    with answering(lambda _head: b"HTTP/1.1 200") as mute:
        outcome = await submit(company, deadline=20, HTTPS_PROXY=mute.origin)
    assert isinstance(outcome, NotSent)
    assert "gives no readable answer" in outcome.cause


async def test_a_proxy_that_answers_before_the_request_means_not_sent(company: Corporation) -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}") as forger:
        outcome = await submit(company, HTTPS_PROXY=forger.origin)
    assert isinstance(outcome, NotSent)


async def test_a_proxy_may_itself_be_behind_tls(tmp_path: Path, provider: RawServer) -> None:
    (tmp_path / "tls").mkdir()
    with corporation(tmp_path / "tls") as company:
        company.proxy.tls = company.authority.issue("127.0.0.1").server()
        company.serve(HOST, int(provider.origin.rpartition(":")[2]))
        assert isinstance(await submit(company), Accepted)


async def test_an_unknown_authority_is_not_trusted(company: Corporation) -> None:
    network = Network.of({"HTTPS_PROXY": company.proxy.url})
    wavespeed = WaveSpeed(Connection("wavespeed", f"https://{HOST}", KEY, network=network))
    outcome = await wavespeed.submit(
        "openai/sora-2/text-to-video", {"prompt": "x"}, submission_id="s-1", deadline_seconds=20
    )
    await wavespeed.aclose()
    assert isinstance(outcome, NotSent)
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.cause


def test_a_client_that_would_need_socks_is_refused_before_it_buys(company: Corporation) -> None:
    with pytest.raises(ConfigurationError, match="SOCKS"):
        client(company, HTTPS_PROXY="socks5://127.0.0.1:1080")


def test_alarms_use_the_proxy_and_keep_their_address_secret(
    company: Corporation, provider: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = SecretStr(f"https://{HOST}/secret-path")
    Sender(url, "json", Network.of(company.environment)).send(trial_alarm())
    assert len(provider.requests) == 1
    company.proxy.refuses[HOST] = 403
    monkeypatch.setattr(alarms, "TRIES", 1)
    with pytest.raises(AlarmNotSentError, match="does not let dailies reach its host") as caught:
        Sender(url, "json", Network.of(company.environment)).send(trial_alarm())
    assert HOST not in str(caught.value)
    assert "secret-path" not in str(caught.value)


@pytest.mark.parametrize(("status", "is_unsent"), [(407, True), (403, False), (502, False), (504, False)])
def test_a_plain_proxys_page_instead_of_dagsters_answer(status: int, is_unsent: bool) -> None:
    page = b"HTTP/1.1 %d No\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>" % status
    with answering(page) as proxy:
        network = Network.of({"HTTP_PROXY": proxy.origin.replace("://", "://robot:canary@")})
        with (
            DagsterApi("http://dagster.corp.test:3000", network) as api,
            pytest.raises(UnavailableError) as caught,
        ):
            api.query("mutation {}", buys=True)
    assert ("has not left" in str(caught.value)) is is_unsent
    assert ("The run may have started" in str(caught.value)) is not is_unsent
    assert "canary" not in str(caught.value)
    assert b"POST http://dagster.corp.test:3000/graphql" in proxy.requests[0]


def test_a_refused_tunnel_to_dagster_proves_that_nothing_was_sent(company: Corporation) -> None:
    company.proxy.refuses["dagster.corp.test"] = 502
    with (
        DagsterApi("https://dagster.corp.test", Network.of(company.environment)) as api,
        pytest.raises(UnavailableError, match=r"the proxy .* answers 502.*has not left"),
    ):
        api.query("mutation {}", buys=True)
