"""The settings of a sandbox: its key, its pace, its money and the place of its state."""

from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Pace(BaseModel):
    """Settings that can change while a sandbox runs. Changes of speed and slots affect later jobs only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_seconds: float = Field(default=8, ge=0)
    """Seconds from a job's slot to its end."""
    post_seconds: float = Field(default=0, ge=0)
    """Seconds from a submit to its answer. The job exists from half of them on."""
    spread: float = Field(default=0.3, ge=0, lt=1)
    """Spread of a job's time around `job_seconds`, as a share: 0.3 means 70 % to 130 %."""
    slots: int | None = Field(default=None, ge=1)
    """Jobs that each provider works on at once, None for no limit. Other jobs wait in the order of arrival."""
    submits_per_minute: int | None = Field(default=None, ge=1)
    """Jobs that each provider accepts in any 60 seconds before it answers 429, None for no limit."""
    balance_usd: Decimal = Field(default=Decimal(1000), ge=0)
    """The first balance of each account in US dollars; a higher value is a top-up."""
    refund_seconds: float = Field(default=0, ge=0)
    """Seconds from a failed job to WaveSpeed's refund (the real one takes up to three hours)."""


class SandboxSettings(Pace):
    """All settings of a sandbox: its first pace, and the settings that stay fixed."""

    key: SecretStr = SecretStr("sandbox")
    """The API key that all providers accept."""
    seed: int = 0
    """Seed of the jobs' times; the same seed gives the same times."""
    retention_seconds: float = Field(default=7 * 86400, gt=0)
    """Seconds for which WaveSpeed keeps a job and its outputs (WaveSpeed docs: what-are-predictions, 7 days)."""
    logs_show_running: bool = False
    """Whether AI/ML API's log lists running jobs. Its pages do not say, so the harder answer is the default."""
    state_path: Path | None = None
    """A directory for jobs and clips, so that they survive a restart; None keeps jobs in memory and clips in a
    temporary directory."""
    faults_path: Path | None = None
    """A YAML fault script, see `resources.sandbox.faults`."""
    public_url: str | None = Field(default=None, pattern=r"^https?://")
    """The beginning of output addresses; None takes scheme and host from each request."""
    clip_bytes: int | None = Field(default=None, ge=1)
    """The smallest size of a clip in bytes, to measure transfers; None for no padding."""

    @property
    def pace(self) -> Pace:
        """The part that can change while the sandbox runs."""
        return Pace(**self.model_dump(include=set(Pace.model_fields)))
