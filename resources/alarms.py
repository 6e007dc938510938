"""Alarms: one message per batch to a webhook address, in Slack's format or as plain JSON.

An alarm is bounded in size and in time, tried a few times, and never contains its address: everybody who knows a webhook's
address can post there.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from resources.errors import ConfigurationError, DailiesError
from resources.money import show_usd, to_usd
from resources.network.way_out import Network
from resources.plain import shown

if TYPE_CHECKING:
    import httpx

Format = Literal["auto", "slack", "json"]

TOTAL_SECONDS = 20.0
"""Seconds for one message with all its tries."""
TRY_SECONDS = 6.0
TRIES = 3
_PASSING = {408, 425, 429, 500, 502, 503, 504}

CLIPS_IN_JSON = 100
CLIPS_IN_SLACK = 10
"""Slack allows 50 blocks and 3,000 characters in each (Slack docs: reference/block-kit/blocks/section-block)."""
_SLACK_TEXT = 2_900
_SLACK_HEADER = 150


class AlarmNotSentError(DailiesError):
    """An alarm did not arrive.

    Attributes:
        may_pass: Whether trying again later can help.
    """

    def __init__(self, message: str, *, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class Kind(StrEnum):
    """The subject of an alarm."""

    CLIPS_FAILED = "clips_failed"
    """Clips of a batch have failed."""
    RUN_FAILED = "run_failed"
    """A run has failed, but no clip."""
    ATTENTION = "attention"
    """Money or a paid clip waits for a person."""
    REVIEW = "review"
    """Takes wait for a person's verdict."""
    TEST = "test"
    """A person tests whether alarms arrive."""


@dataclass(frozen=True)
class FailedClip:
    """One clip of an alarm."""

    clip: str
    """Its key."""
    series: str
    """Whose."""
    state: str
    """Its state in the ledger."""
    reason: str
    """The reason, possibly a stranger's text."""
    cost_micros: int
    """Its cost in micro-dollars."""
    url: str
    """The address of its page."""

    @property
    def line(self) -> str:
        """The clip as one line."""
        cost = f" ({show_usd(self.cost_micros)})" if self.cost_micros else ""
        return f"{self.clip}: {shown(self.reason, longest=220) or self.state}{cost}"


@dataclass(frozen=True)
class Alarm:
    """One message."""

    id: str
    """The key of the trouble; a receiver can drop an alarm with a key that it has seen."""
    kind: Kind
    """Its subject."""
    title: str
    """One line."""
    details: list[str] = field(default_factory=list)
    """Sentences."""
    todo: str = ""
    """What to do next."""
    batch: str | None = None
    """The decision that the clips belong to, None without one."""
    clips: list[FailedClip] = field(default_factory=list)
    """The clips that failed."""
    total: int = 0
    """The number of clips in the batch."""
    open: int = 0
    """The number of clips that are not finished."""
    lost_micros: int = 0
    """The known cost of the failed clips, in micro-dollars."""
    spent_micros: int = 0
    """The cost of the batch, in micro-dollars."""
    runs: list[str] = field(default_factory=list)
    """Addresses of the runs in Dagster."""

    @property
    def costs(self) -> str:
        """The cost as a sentence; empty if nothing was bought."""
        if not self.total:
            return ""
        return (
            f"{show_usd(self.spent_micros)} for the batch, {show_usd(self.lost_micros)} of it for what failed"
        )

    def as_json(self) -> dict[str, Any]:
        """The plain format. New fields may be added; existing ones never change."""
        return {
            "version": 1,
            "id": self.id,
            "kind": self.kind.value,
            "title": shown(self.title, longest=300),
            "text": "\n".join([shown(self.title, longest=300), *self._lines(CLIPS_IN_SLACK)]),
            "batch": self.batch,
            "clips_total": self.total,
            "clips_failed": len(self.clips),
            "clips_open": self.open,
            "clips": [
                {
                    "clip": clip.clip,
                    "series": clip.series,
                    "state": clip.state,
                    "reason": shown(clip.reason, longest=600),
                    "cost_usd": f"{to_usd(clip.cost_micros):f}",
                    "url": clip.url,
                }
                for clip in self.clips[:CLIPS_IN_JSON]
            ],
            "spent_usd": f"{to_usd(self.spent_micros):f}",
            "lost_usd": f"{to_usd(self.lost_micros):f}",
            "runs": self.runs[:CLIPS_IN_JSON],
            "todo": self.todo,
        }

    def as_slack(self) -> dict[str, Any]:
        """Slack's format. Strangers' text is plain text, in which links and mentions have no effect."""
        title = shown(self.title, longest=_SLACK_HEADER) or "dailies"
        body = "\n".join(self._lines(CLIPS_IN_SLACK))[:_SLACK_TEXT]
        links = [f"<{_slack(url)}|run {number}>" for number, url in enumerate(self.runs[:5], 1)]
        links += [f"<{_slack(clip.url)}|{_slack(clip.clip)}>" for clip in self.clips[:CLIPS_IN_SLACK]]
        blocks: list[dict[str, Any]] = [
            {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": False}}
        ]
        if body:
            blocks.append({"type": "section", "text": {"type": "plain_text", "text": body, "emoji": False}})
        if links:
            blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": _joined(links)}})
        # for notifications, and for servers that accept Slack's format without its blocks
        return {"text": _slack(title), "blocks": blocks}

    def _lines(self, most: int) -> list[str]:
        lines = [shown(detail, longest=600) for detail in self.details]
        lines += [clip.line for clip in self.clips[:most]]
        if len(self.clips) > most:
            lines.append(f"and {len(self.clips) - most} more")
        return [line for line in (*lines, self.costs, self.todo) if line]


def trial_alarm() -> Alarm:
    """The alarm of a test."""
    return Alarm("test", Kind.TEST, "dailies: alarms arrive here", ["Nothing is wrong: this is a test."])


class Sender:
    """Sends alarms to one address.

    Args:
        url: The address, a secret.
        form: `slack`, `json`, or `auto` to decide by the address's host.
        transport: For tests.
    """

    def __init__(
        self,
        url: SecretStr,
        form: Format = "auto",
        network: Network | None = None,
        *,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        self._url = url
        self._network = network or Network()
        self._transport = transport
        host = urlsplit(url.get_secret_value()).hostname or ""
        self._slack = form == "slack" or (form == "auto" and host.endswith((".slack.com", ".slack-gov.com")))

    def __repr__(self) -> str:
        return f"Sender({'slack' if self._slack else 'json'})"

    def send(self, alarm: Alarm) -> None:
        """Send one alarm, with a few tries. Takes 20 seconds at most.

        Raises:
            AlarmNotSentError: The alarm did not arrive, or may not have arrived.
        """
        import asyncio

        asyncio.run(self._send(alarm.as_slack() if self._slack else alarm.as_json()))

    async def _send(self, body: dict[str, Any]) -> None:
        import asyncio

        import httpx

        from resources.network.transports import transport as network_transport
        from resources.retry import retry_free_call

        # httpx' client logs every address; its transport does not
        transport = self._transport or network_transport(self._network, httpx.Limits())
        try:
            self._network.proxy_to(self._url.get_secret_value())
        except ConfigurationError as error:
            raise AlarmNotSentError(
                f"the alarm did not arrive at DAILIES_ALARM_URL: {error}", may_pass=False
            ) from None
        try:
            async with asyncio.timeout(TOTAL_SECONDS), transport:
                await retry_free_call(lambda: self._post(transport, body), on=_may_pass, tries=TRIES)
        except TimeoutError:
            raise _not_arrived(f"it did not answer within {TOTAL_SECONDS:.0f} s") from None

    async def _post(self, transport: "httpx.AsyncBaseTransport", body: dict[str, Any]) -> None:
        import httpx

        patience = httpx.Timeout(TRY_SECONDS).as_dict()
        failed = ""
        try:
            request = httpx.Request(
                "POST", self._url.get_secret_value(), json=body, extensions={"timeout": patience}
            )
            answer = await transport.handle_async_request(request)
            # the body of the answer is never read: it may be endless
            await answer.aclose()
        except httpx.ProxyError as error:
            # the text is ours and names the host, which some webhooks keep secret
            failed = str(error).replace(urlsplit(self._url.get_secret_value()).hostname or "", "its host")
        except Exception as error:  # noqa: BLE001 - any exception that the answer's bytes raise means that the alarm did not arrive
            # the error's text may contain the address, so it is not our cause
            failed = f"the connection failed ({type(error).__name__})"
        if failed:
            raise _not_arrived(failed)
        if 200 <= answer.status_code < 300:
            return
        if answer.status_code in _PASSING:
            raise _not_arrived(f"it answers {answer.status_code}")
        raise AlarmNotSentError(
            f"the alarm was refused at DAILIES_ALARM_URL: it answers {answer.status_code}. Set the right address, and the "
            "right DAILIES_ALARM_FORMAT (slack or json); `dailies doctor --alarm` tries it.",
            may_pass=False,
        )


def _not_arrived(why: str) -> AlarmNotSentError:
    return AlarmNotSentError(f"the alarm did not arrive at DAILIES_ALARM_URL: {why}", may_pass=True)


def _may_pass(error: Exception) -> bool:
    return isinstance(error, AlarmNotSentError) and error.may_pass


def sender_of(url: SecretStr | None, form: Format, network: Network) -> Sender:
    """The sender of alarms.

    Raises:
        ConfigurationError: No address is set.
    """
    if url is None:
        raise ConfigurationError(
            "no alarm can be sent: set DAILIES_ALARM_URL to a webhook's address, e.g. an incoming webhook of Slack"
        )
    return Sender(url, form, network)


def _slack(text: str) -> str:
    """Text inside Slack's markup (Slack docs: messaging/formatting-message-text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\N{BROKEN BAR}")


def _joined(links: list[str]) -> str:
    """As many whole links as a block takes."""
    kept: list[str] = []
    for link in links:
        if sum(map(len, kept)) + 2 * len(kept) + len(link) > _SLACK_TEXT:
            break
        kept.append(link)
    return ", ".join(kept)
