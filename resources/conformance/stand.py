"""The stand of a check: one provider's client, its front with its books, and the wire between them."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from resources.conformance.wire import Mishap, Sent, Wire
from resources.errors import ConfigurationError
from resources.network.way_out import Network
from resources.providers.account_variables import sandbox_admin_key
from resources.providers.base import Accepted, Candidate, Charge, SubmitOutcome
from resources.providers.provider import Provider
from resources.providers.rows import Rows
from resources.providers.spec import Connection, ProviderSpec
from resources.sandbox.app import create_app
from resources.sandbox.books import Job
from resources.sandbox.endpoints import SandboxEndpoint, load_endpoints
from resources.sandbox.faults import FaultScript
from resources.sandbox.front_registry import fronts
from resources.sandbox.settings import SandboxSettings

START = 1_800_000_000.0
KEY = "canary-7f3a91c0de5e+11ab/42"
"""The account's key; no text of the client may show it."""
ADDRESS = "http://127.0.0.1:1"
JOB_SECONDS = 60.0
HOOK = "https://hooks.example.com/callbacks/"


class BrokenPromiseError(Exception):
    """A client broke the contract; the message describes its answer."""


def promised(holds: bool, did: str) -> None:
    """Check a condition.

    Args:
        did: The client's answer, if the condition does not hold.

    Raises:
        BrokenPromiseError: The condition does not hold.
    """
    if not holds:
        raise BrokenPromiseError(did)


@dataclass
class Moments:
    """A manual clock: seconds since the epoch."""

    now: float = START

    def __call__(self) -> float:
        """The time."""
        return self.now


@dataclass
class Stand:
    """One provider's client and its front, both in this process and on one clock."""

    spec: ProviderSpec
    settings: dict[str, Any] = field(default_factory=dict)
    """Changes of the sandbox's settings."""
    ahead: float = 0.0
    """Seconds by which the provider's clock is ahead of ours."""
    key: str = KEY
    clock: Moments = field(default_factory=Moments)
    ended: list[str] = field(default_factory=list)
    """The jobs that were bought for several checks, oldest first, by the ids that the client named."""

    def __post_init__(self) -> None:
        options = {
            "spread": 0,
            "job_seconds": JOB_SECONDS,
            "key": KEY,
            "logs_show_running": False,
            **self.settings,
        }
        self.app = create_app(SandboxSettings(**options), clock=self.provider_clock)
        self.workshop = self.app.state.workshop
        self.wire = Wire(self.app, self.provider_clock)
        self.endpoint, self.sold = sample(self.spec.name)
        self.client = self.connect()

    def provider_clock(self) -> float:
        """The provider's clock."""
        return self.clock() + self.ahead

    def connect(self, key: str | None = None) -> Provider:
        """Another client of the account."""
        return self.spec.build(
            Connection(
                account=self.spec.name,
                base_url=ADDRESS + self.spec.sandbox_path,
                api_key=key or self.key,
                admin_key=sandbox_admin_key(key or self.key) if self.spec.admin_key else None,
                network=Network(),
                clock=self.clock,
                transport=self.wire,
                webhook_url=(lambda submission: f"{HOOK}{submission}") if self.spec.callbacks else None,
            )
        )

    # Actions

    def order(self, prompt: str = "a hill") -> dict[str, Any]:
        """A request that the front accepts."""
        return body_of(self.sold, prompt)

    async def submit(
        self, submission_id: str = "s-1", prompt: str = "a hill", **changes: Any
    ) -> SubmitOutcome:
        """One POST."""
        return await self.client.submit(
            self.endpoint, {**self.order(prompt), **changes}, submission_id=submission_id, deadline_seconds=60
        )

    async def bought(self, submission_id: str = "s-1", prompt: str = "a hill") -> str:
        """The job of a POST that went well."""
        outcome = await self.submit(submission_id, prompt)
        if not isinstance(outcome, Accepted):
            raise BrokenPromiseError(f"a POST that the front accepts came out as {outcome}")
        return outcome.job_id

    def window(self) -> tuple[datetime, datetime]:
        """A window around all jobs, by the provider's clock."""
        now = self.provider_clock()
        return datetime.fromtimestamp(START + self.ahead - 3600, UTC), datetime.fromtimestamp(now + 3600, UTC)

    async def listed(self, window: tuple[datetime, datetime] | None = None) -> Rows[Candidate]:
        """The listing of a window, by default of all jobs."""
        after, before = window or self.window()
        return await self.client.list_jobs(after=after, before=before, endpoints=[self.endpoint])

    async def billed(self) -> Rows[Charge]:
        """The whole bill."""
        after, before = self.window()
        return await self.client.charges(after=after, before=before)

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds

    def fault(self, then: dict[str, Any], operation: str | None = None, **when: Any) -> None:
        """Add a rule to the front's fault script."""
        chosen = {"provider": self.spec.name, **when, **({"operation": operation} if operation else {})}
        rule = {"name": "conformance", "when": chosen, "then": then}
        self.workshop.faults.rules.extend(FaultScript.model_validate({"faults": [rule]}).faults)

    @contextmanager
    def mishap(
        self, happens: Mishap | None, only: Callable[[Sent], bool] = lambda _sent: True
    ) -> Iterator[None]:
        """Apply a mishap to the client's requests while the block runs."""
        self.wire.mishap, self.wire.only = happens, only
        try:
            yield
        finally:
            self.wire.mishap = None

    # Observations

    @property
    def jobs(self) -> list[Job]:
        """The account's jobs, oldest first, as the front's books have them."""
        return list(reversed(self.workshop.books.jobs(self.spec.name)))

    def kind(self, sent: Sent) -> str | None:
        """The kind of a request, by the provider's documented calls."""
        calls, call = self.spec.documented.calls, sent.call.replace(f" {self.spec.sandbox_path}/", " /", 1)
        return next((kind for pattern, kind in calls if re.fullmatch(pattern, call)), None)

    def is_post(self, sent: Sent) -> bool:
        """Whether a request is a purchase."""
        return self.kind(sent) == "submit"


@asynccontextmanager
async def open_stand(spec: ProviderSpec, **how: Any) -> AsyncIterator[Stand]:
    """A stand, closed at the end of the block."""
    stand = Stand(spec, **how)
    # the front's courier of callbacks ends with it
    async with stand.app.router.lifespan_context(stand.app):
        try:
            yield stand
        finally:
            await stand.client.aclose()


def sample(provider: str) -> tuple[str, SandboxEndpoint]:
    """The first endpoint of a front that makes a video from text alone.

    Raises:
        ConfigurationError: The sandbox has no front for the provider, or none of its endpoints can be ordered so.
    """
    if provider not in fronts():
        raise ConfigurationError(
            f"the sandbox has no front for {provider!r}: a package adds one by the entry-point group `dailies.sandbox`"
        )
    for name, sold in load_endpoints()[provider].items():
        needed = [
            rule for rule in sold.parameters.values() if rule.required and rule.type in {"url", "picture"}
        ]
        if sold.output == "video" and not needed:
            return name, sold
    raise ConfigurationError(f"no endpoint of the front for {provider!r} makes a video from text alone")


def body_of(sold: SandboxEndpoint, prompt: str) -> dict[str, Any]:
    """A request with every parameter that has a default or is required."""
    body: dict[str, Any] = {}
    for name, rule in sold.parameters.items():
        if name == "prompt":
            body[name] = prompt
        elif rule.default is not None:
            body[name] = rule.default
        elif rule.required:
            sample = {"string": "text", "integer": 4, "boolean": True, "array": ["text"]}
            body[name] = rule.values[0] if rule.values else sample[rule.type]
    return body
