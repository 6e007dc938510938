"""Settings become a client, or an error that a person can act on."""

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from resources.errors import ConfigurationError
from resources.providers.accounts import AccountSettings, build_provider
from resources.providers.aimlapi.client import AimlApi
from resources.providers.registry import spec_of
from resources.providers.wavespeed.client import WaveSpeed

WAVESPEED_URL, AIMLAPI_URL = (spec_of(name).url for name in ("wavespeed", "aimlapi"))


def wavespeed(url: str = WAVESPEED_URL, key: str | None = "key-of-wavespeed") -> AccountSettings:
    secret = None if key is None else SecretStr(key)
    return AccountSettings(name="wavespeed", provider="wavespeed", base_url=url, api_key=secret)


async def test_each_provider_is_built_and_sends_its_key_to_its_address() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"code": 200, "data": {}, "current_balance": 1})

    transport = httpx.MockTransport(handler)
    settings = AccountSettings(
        name="aimlapi", provider="aimlapi", base_url=AIMLAPI_URL, api_key=SecretStr("key-of-aimlapi")
    )
    for built, kind in (
        (build_provider(wavespeed(), transport=transport), WaveSpeed),
        (build_provider(settings, transport=transport), AimlApi),
    ):
        assert isinstance(built, kind)
        await built.check()
        await built.aclose()
    assert [str(request.url) for request in seen] == [
        "https://api.wavespeed.ai/api/v3/balance",
        "https://api.aimlapi.com/v2/billing",
    ]
    assert [request.headers["authorization"] for request in seen] == [
        "Bearer key-of-wavespeed",
        "Bearer key-of-aimlapi",
    ]


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_the_error_names_the_variable_and_the_sandbox(key: str | None) -> None:
    with pytest.raises(ConfigurationError, match="WAVESPEED_API_KEY") as raised:
        build_provider(wavespeed(key=key))
    assert "dailies up" in str(raised.value)
    assert "make demo" in str(raised.value)


def test_a_bad_key_names_the_account_and_the_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"'wavespeed' \(WAVESPEED_API_KEY\).*begins or ends"):
        build_provider(wavespeed(key="key-of-wavespeed\n"))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8700",
        "http://127.8.9.1",
        "http://localhost:1/",
        "http://[::1]:9",
        "https://x.test/base/",
    ],
)
def test_addresses_that_may_receive_a_key(url: str) -> None:
    assert wavespeed(url).base_url == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "because"),
    [
        ("http://api.wavespeed.ai", "plain http"),
        ("http://192.168.1.5:8700", "plain http"),
        ("http://127.0.0.1.evil.test", "plain http"),
        ("http://0.0.0.0:1", "plain http"),
        ("ftp://x.test", "must look like"),
        ("api.wavespeed.ai", "must look like"),
        ("https://", "must look like"),
        ("", "must look like"),
        ("https://x.test/ a", "must look like"),
        ("https://user:hidden@x.test", "no user"),
        ("https://x.test?key=hidden", "no user"),
        ("https://x.test/#a", "no user"),
        ("https://x.test:99999", "not a URL"),
        ("https://[::1", "not a URL"),
    ],
)
def test_addresses_that_may_not_receive_a_key(url: str, because: str) -> None:
    with pytest.raises(ConfigurationError, match=because) as raised:
        wavespeed(url)
    assert "hidden" not in str(raised.value)


def test_settings_are_strict_and_frozen() -> None:
    settings = wavespeed()
    assert (settings.max_in_flight, settings.submits_per_minute, settings.submit_deadline_seconds) == (
        None,
        None,
        60,
    )
    with pytest.raises(ValidationError):
        settings.base_url = "https://elsewhere.test"  # type: ignore[misc]
    for wrong in (
        {"max_in_flight": 0},
        {"submits_per_minute": 0},
        {"submit_deadline_seconds": 0},
        {"typo": 1},
    ):
        with pytest.raises(ValidationError):
            AccountSettings(name="a", provider="wavespeed", base_url=WAVESPEED_URL, **wrong)
    with pytest.raises(ValidationError):
        AccountSettings(name="a", provider="nobody", base_url=WAVESPEED_URL)
