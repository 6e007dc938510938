"""Sending is bounded, repeated where that can help, and never shows the address."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest
from pydantic import SecretStr

from resources import alarms
from resources.alarms import AlarmNotSentError, Format, Sender, sender_of, trial_alarm
from resources.errors import ConfigurationError
from resources.network.way_out import Network

SECRET = "T000/B000/s3cr3t-t0ken"
SLACK = f"https://hooks.slack.com/services/{SECRET}"


@dataclass
class Post:
    """A webhook with scripted answers."""

    answers: list[int | Exception]
    """A status or an error for each request; the last one stays."""
    seen: list[httpx.Request] = field(default_factory=list)
    """The posted messages."""

    def sender(self, url: str = SLACK, form: Format = "auto") -> Sender:
        return Sender(SecretStr(url), form, transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.answers[min(len(self.seen), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, headers={"Location": "https://elsewhere.test/"})


pytestmark = pytest.mark.usefixtures("no_pauses")


@pytest.mark.parametrize(
    ("url", "form", "is_slack"),
    [
        (SLACK, "auto", True),
        ("https://chat.example.com/hook", "auto", False),
        ("https://notslack.community/hook", "auto", False),
        ("https://chat.example.com/hook", "slack", True),
        (SLACK, "json", False),
    ],
)
def test_the_format_follows_the_address_unless_it_is_set(url: str, form: Format, is_slack: bool) -> None:
    post = Post([200])
    post.sender(url, form).send(trial_alarm())
    (request,) = post.seen
    assert str(request.url) == url
    assert ("blocks" in json.loads(request.content)) is is_slack


def test_a_temporary_failure_is_tried_again() -> None:
    post = Post([503, httpx.ConnectError("refused"), 200])
    post.sender().send(trial_alarm())
    assert len(post.seen) == 3


@pytest.mark.parametrize("answer", [500, 429, httpx.ConnectError(SLACK), httpx.ReadTimeout(SLACK)])
def test_a_lasting_failure_ends_after_three_tries(answer: int | Exception) -> None:
    post = Post([answer])
    with pytest.raises(AlarmNotSentError) as raised:
        post.sender().send(trial_alarm())
    assert len(post.seen) == 3
    assert raised.value.may_pass
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


@pytest.mark.parametrize("status", [400, 403, 404, 410, 301, 307])
def test_a_refusal_is_not_tried_again_and_a_redirect_is_not_followed(status: int) -> None:
    post = Post([status])
    with pytest.raises(AlarmNotSentError) as raised:
        post.sender().send(trial_alarm())
    assert len(post.seen) == 1
    assert not raised.value.may_pass
    assert str(status) in str(raised.value)
    assert SECRET not in str(raised.value)


def test_an_address_that_never_answers_costs_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "TOTAL_SECONDS", 0.05)

    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(30)
        return httpx.Response(200)

    sender = Sender(SecretStr(SLACK), transport=httpx.MockTransport(hang))
    with pytest.raises(AlarmNotSentError) as raised:
        sender.send(trial_alarm())
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("show", [repr, str])
def test_a_sender_never_shows_its_address(show: Callable[[object], str]) -> None:
    assert SECRET not in show(Post([200]).sender())


def test_without_an_address_the_error_names_the_missing_setting() -> None:
    with pytest.raises(ConfigurationError, match="DAILIES_ALARM_URL"):
        sender_of(None, "auto", Network())
