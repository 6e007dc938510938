"""How a sandbox behaves: its key, its pace, its money and where it keeps its state."""

from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Pace(BaseModel):
    """What can be changed while a sandbox runs. Speed and slots hold for jobs submitted from then on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_seconds: float = Field(default=8, ge=0)
    """How long a job works once it has a slot, in seconds."""
    spread: float = Field(default=0.3, ge=0, lt=1)
    """How far a job's time may lie from `job_seconds`, as a share of it: 0.3 means 70 % to 130 %."""
    slots: int | None = Field(default=None, ge=1)
    """Jobs each provider works on at once, None for no limit. What is beyond waits in order of arrival."""
    submits_per_minute: int | None = Field(default=None, ge=1)
    """Jobs each provider accepts in any 60 seconds before it answers 429, None for no limit."""
    balance_usd: Decimal = Field(default=Decimal(1000), ge=0)
    """What each account held at the start, in US dollars; raising it is a top-up."""
    refund_seconds: float = Field(default=0, ge=0)
    """How long after a failed job WaveSpeed's refund is booked (the real one takes up to three hours)."""


class SandboxSettings(Pace):
    """Everything about a sandbox that is not a fault: its pace at the start, and what stays as it is."""

    key: SecretStr = SecretStr("sandbox")
    """The API key both providers accept."""
    seed: int = 0
    """Decides each job's time, together with its number; the same seed gives the same times."""
    retention_seconds: float = Field(default=7 * 86400, gt=0)
    """How long WaveSpeed remembers a job and its outputs (WaveSpeed docs: what-are-predictions, 7 days)."""
    logs_show_running: bool = False
    """Whether AI/ML API's log lists jobs that still run. Its pages do not say, so the harder answer is the default."""
    state_path: Path | None = None
    """A directory for jobs and clips, so that they survive a restart; None keeps jobs in memory and clips in a
    temporary directory."""
    faults_path: Path | None = None
    """A YAML fault script, see `resources.sandbox.faults`."""
    public_url: str | None = Field(default=None, pattern=r"^https?://")
    """What output addresses start with; None takes the scheme and host of each request."""
    clip_bytes: int | None = Field(default=None, ge=1)
    """Pad every clip to at least this many bytes, for measuring transfers; None leaves clips as encoded."""

    @property
    def pace(self) -> Pace:
        """The part that can change while the sandbox runs."""
        return Pace(**self.model_dump(include=set(Pace.model_fields)))
