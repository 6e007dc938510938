"""A planted key is in no exception, repr or log. The conformance kit tests keys that a provider echoes in an answer."""

import logging
import traceback
from typing import Any

import httpx
import pytest
from hostile_server import Peer

from resources.errors import ConfigurationError, DailiesError
from resources.providers.accounts import AccountSettings, build_provider
from resources.providers.aimlapi.client import AimlApi
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed
from resources.settings import Settings

KEY = "canary-7f3a91c0de5e+11ab/42"
ENDPOINT = "openai/sora-2/text-to-video"
TOKEN = "hooktoken-55e1"


def shown(thing: object) -> str:
    text = f"{thing!r} {thing}"
    if isinstance(thing, BaseException):
        text += "".join(traceback.format_exception(thing)) + repr(thing.__context__) + repr(thing.__cause__)
    return text


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError(f"no route for Bearer {KEY}"),
        httpx.ReadError(f"https://u:{KEY}@x.test/?k={KEY}"),
        httpx.LocalProtocolError(f"Illegal header value b'Bearer {KEY}'"),
        ValueError(KEY),
    ],
)
async def test_a_key_in_a_library_error_is_hidden(error: Exception) -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise error

    client = WaveSpeed(Connection("wavespeed", "https://ws.test", KEY, transport=httpx.MockTransport(broken)))
    outcome = await client.submit(ENDPOINT, {"prompt": "x"}, submission_id="s", deadline_seconds=60)
    polled = await client.poll("job-1", age_seconds=5)
    handed_in = await client.upload("a.png", "image/png", b"x")
    with pytest.raises(DailiesError) as raised:
        await client.check()
    text = shown(outcome) + shown(polled) + shown(raised.value) + shown(handed_in)
    assert "7f3a91c0de5e" not in text
    assert type(error).__name__ in text


async def test_logs_do_not_show_a_key_that_comes_back_in_a_header(
    listen: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def echoes(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(401, b'{"code":401,"message":"no"}', headers=f"X-Echo: Bearer {KEY}\r\n")

    caplog.set_level(logging.DEBUG)
    server = await listen(echoes)
    client = WaveSpeed(Connection("wavespeed", server.url, KEY))
    await client.submit(ENDPOINT, {"prompt": "x"}, submission_id="s", deadline_seconds=60)
    await client.aclose()
    assert f"{server.url}/api/v3/{ENDPOINT} " in caplog.text.replace('"', " ")
    assert "7f3a91c0de5e" not in caplog.text


async def test_logs_show_neither_key_nor_query(listen: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def accepts(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(200, b'{"code":200,"data":{"id":"job-1"}}')

    caplog.set_level(logging.DEBUG)
    server = await listen(accepts)
    client = WaveSpeed(
        Connection(
            "wavespeed",
            server.url,
            KEY,
            webhook_url=lambda submission: f"https://me.test/{submission}?token={TOKEN}",
        )
    )
    await client.submit(ENDPOINT, {"prompt": "x"}, submission_id="s", deadline_seconds=60)
    await client.aclose()
    assert TOKEN.encode() in server.received
    assert f"{server.url}/api/v3/{ENDPOINT} " in caplog.text.replace('"', " ")
    assert "7f3a91c0de5e" not in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "key", [f"{KEY}\n", f" {KEY}", f"{KEY}\r\nX: y", f"{KEY} {KEY}", f"{KEY}é", f"{KEY}\x00", " "]
)
@pytest.mark.parametrize("make", [WaveSpeed, AimlApi])
def test_a_key_that_cannot_be_a_header_is_refused_without_showing_it(make: Any, key: str) -> None:
    with pytest.raises(ConfigurationError, match="API key") as raised:
        make(Connection("an-account", "https://x.test", key))
    assert "7f3a91c0de5e" not in shown(raised.value)


def test_settings_do_not_show_the_ledgers_password() -> None:
    settings = Settings(DAILIES_LEDGER_URL="postgresql://me:canary-pw@db.test/dailies")
    assert settings.ledger_url.endswith("canary-pw@db.test/dailies")
    assert "canary-pw" not in f"{settings!r} {settings}"


def test_account_settings_never_show_the_key() -> None:
    settings = AccountSettings(name="wavespeed", provider="wavespeed", base_url="https://x.test", api_key=KEY)
    assert "7f3a91c0de5e" not in shown(settings) + shown(settings.model_dump()) + settings.model_dump_json()
    assert "7f3a91c0de5e" not in shown(build_provider(settings))
    with pytest.raises(ValueError, match="api_key") as raised:
        AccountSettings(name="wavespeed", provider="wavespeed", base_url="https://x.test", api_key=[KEY])
    assert "7f3a91c0de5e" not in shown(raised.value)
