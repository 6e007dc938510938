"""The offset of a provider's clock from ours, by the dates of its answers."""

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from resources.providers.base import ClockOffset
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed

NOW = 1_800_000_000.0


class Times:
    """Our clock, the provider's clock, and the duration of an answer."""

    def __init__(self) -> None:
        self.ours, self.ahead, self.takes = NOW, 0.0, 0.1
        self.dated = True

    def __call__(self) -> float:
        return self.ours

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.ours += self.takes
        date = format_datetime(datetime.fromtimestamp(int(self.ours + self.ahead), UTC), usegmt=True)
        headers = {"Date": date} if self.dated else {}
        return httpx.Response(200, json={"code": 200, "data": {"balance": 1.0, "id": "j"}}, headers=headers)


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def client(times: Times) -> WaveSpeed:
    return WaveSpeed(
        Connection(
            "wavespeed",
            "https://ws.test",
            "key-of-wavespeed",
            transport=httpx.MockTransport(times.answer),
            clock=times,
        )
    )


def offset(client: WaveSpeed) -> ClockOffset:
    assert client.clock_offset is not None
    return client.clock_offset


@pytest.mark.parametrize("ahead", [0.0, 600.0, -600.0, 0.5])
@pytest.mark.parametrize("call", ["ask", "submit"])
async def test_the_true_offset_lies_in_between(
    client: WaveSpeed, times: Times, ahead: float, call: str
) -> None:
    times.ahead = ahead
    assert client.clock_offset is None
    if call == "ask":
        await client.check()
    else:
        await client.submit("a/b", {}, submission_id="s", deadline_seconds=60)
    assert offset(client).low <= ahead <= offset(client).high
    assert offset(client).high - offset(client).low < 2.5


async def test_a_slow_answer_does_not_widen_the_known_range(client: WaveSpeed, times: Times) -> None:
    await client.check()
    known = offset(client)
    times.takes = 40
    await client.check()
    assert offset(client) == known


async def test_a_clock_that_was_set_counts_at_once(client: WaveSpeed, times: Times) -> None:
    await client.check()
    times.ahead, times.takes = -600, 20
    await client.check()
    assert offset(client).low <= -600 <= offset(client).high


async def test_an_answer_without_a_date_measures_nothing(client: WaveSpeed, times: Times) -> None:
    times.dated = False
    await client.check()
    assert client.clock_offset is None
    times.dated = True
    await client.check()
    known: Any = client.clock_offset
    times.dated = False
    await client.check()
    assert client.clock_offset == known
