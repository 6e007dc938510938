"""The scheme before the key: most providers expect `Bearer`, fal expects `Key`."""

from typing import Any

import httpx
import pytest

from resources.providers.http import ProviderHttp


@pytest.mark.parametrize(("given", "sent"), [({}, "Bearer a-key"), ({"scheme": "Key"}, "Key a-key")])
async def test_the_key_is_sent_after_its_scheme(given: dict[str, Any], sent: str) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, json={})

    client = ProviderHttp("https://x.test", "a-key", transport=httpx.MockTransport(answer), **given)
    await client.ask("GET", "/a")
    await client.submit("/b", b"{}", deadline_seconds=5)
    await client.aclose()
    assert seen == [sent, sent]
