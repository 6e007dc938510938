"""The base class of the providers' clients; each client adds its provider's wire format."""

from typing import Any, ClassVar

from resources.errors import ConfigurationError, UnavailableError
from resources.providers import answers
from resources.providers.base import (
    ClockOffset,
    FailureKind,
    JobState,
    JobStatus,
    PollFailed,
    Rejected,
    UploadFailed,
)
from resources.providers.http import Answer, ProviderHttp
from resources.providers.spec import Connection


class ProviderClient:
    """One account at a provider, without the provider's wire format.

    Args:
        connection: The account's address, key and network.

    Attributes:
        name: Name of the account in the ledger.

    Raises:
        ConfigurationError: The address or the key cannot be used.
    """

    title: ClassVar[str]
    """The provider's name in messages."""
    key_advice: ClassVar[str]
    """What a person can do when the key is refused: a sentence without its full stop."""
    key_scheme: ClassVar[str] = "Bearer"
    """The word before the key in the header `Authorization`."""
    job_word: ClassVar[str] = "job"
    """The provider's word for a job."""

    def __init__(self, connection: Connection) -> None:
        self.name = connection.account
        self._webhook_url = connection.webhook_url
        self._key_variable = connection.key_variable
        self._http = self._reach(connection)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._http.base_url!r})"

    @property
    def clock_offset(self) -> ClockOffset | None:
        """See `Provider.clock_offset`."""
        return self._http.offset

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _reach(
        self, connection: Connection, base_url: str | None = None, key: str | None = None
    ) -> ProviderHttp:
        """The HTTP client of the account's address, or of another address of its provider."""
        return ProviderHttp(
            base_url or connection.base_url,
            key or connection.api_key,
            network=connection.network,
            transport=connection.transport,
            clock=connection.clock,
            scheme=self.key_scheme,
        )

    def _unsent(self, problem: str) -> Rejected:
        """The outcome of a request that cannot be built."""
        return Rejected(FailureKind.INVALID, f"{problem}; nothing was sent", 0)

    def _unwritable(self, error: ValueError) -> str:
        return self._http.scrub.message(f"the request cannot be written as JSON: {error}", 300)

    def _refused(self, kind: FailureKind, answer: Answer) -> Rejected:
        """The outcome of a POST that was certainly refused."""
        raw = answers.storable(answer.document) if answer.document is not None else None
        return Rejected(kind, self._said(answer), answer.status, answer.retry_after, raw)

    def _gone(self, word: str, message: object, document: Any) -> JobState:
        """The state of a job that the provider does not know any more."""
        error = self._http.scrub.message(message) or f"{self.title} does not know this {self.job_word}"
        raw = answers.storable(document)
        return JobState(JobStatus.GONE, word, error=error, failure=FailureKind.GONE, raw=raw)

    def _status(self, answer: Answer) -> int:
        """The HTTP status that counts."""
        return answer.status

    def _no_state(self, answer: Answer) -> PollFailed:
        """The result of a poll whose answer has no state."""
        status, kind = self._status(answer), FailureKind.PROVIDER
        if status == 429:
            kind = FailureKind.THROTTLED
        elif status == 401 or (status == 403 and answer.document is not None):
            kind = FailureKind.AUTH
        return PollFailed(self._said(answer), answer.retry_after, kind)

    def _not_uploaded(self, answer: Answer | PollFailed, why: str, *, refused: bool) -> UploadFailed:
        """The result of a refused upload.

        Args:
            answer: The provider's answer.
            why: What the provider did not do, e.g. `gives no ticket`.
            refused: Whether the provider itself said that it does not accept the file.
        """
        failed = answer if isinstance(answer, PollFailed) else self._no_state(answer)
        kind = FailureKind.INVALID if refused else failed.kind
        return UploadFailed(f"{self.title} {why}: {failed.cause}", kind, failed.retry_after)

    def _fields(self, answer: Answer | PollFailed, task: str) -> dict[str, Any]:
        """The answer to a question about the account.

        Args:
            answer: The provider's answer.
            task: The request, e.g. `list its jobs`.

        Raises:
            ConfigurationError: The key is refused.
            UnavailableError: The provider does not answer, or not readably.
        """
        if isinstance(answer, Answer) and 200 <= self._status(answer) < 300 and answer.fields:
            return answer.fields
        failed = answer if isinstance(answer, PollFailed) else self._no_state(answer)
        if failed.kind is FailureKind.AUTH:
            variable = self._key_variable
            advice = self.key_advice if variable is None else f"Set {variable} to a key of the account"
            raise ConfigurationError(f"{self.title} refuses the API key: {failed.cause}. {advice}")
        raise UnavailableError(f"{self.title} did not {task}: {failed.cause}. Try again later")

    def _said(self, answer: Answer) -> str:
        """One sentence with the status and the provider's words."""
        words = self._http.scrub.message(answer.fields) or answer.problem or "it gives no reason"
        return self._http.scrub.message(f"{self.title} answered HTTP {answer.status}: {words}")
