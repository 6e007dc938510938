"""Free questions are asked again, a few times, and only where asking again can help."""

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from resources.errors import ConfigurationError, UnavailableError
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.production import rebuild, retry
from resources.production.retry import PAUSES, patiently
from resources.providers.base import Candidate, JobStatus
from resources.providers.wavespeed import WaveSpeed


class Questions:
    """Fails with these errors first, and notes how long was waited."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked = 0
        self.slept: list[float] = []

    async def ask(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_a_failed_answer_is_asked_for_again_with_growing_pauses() -> None:
    questions = Questions(*[UnavailableError("HTTP 502")] * 3)
    assert await patiently(questions.ask, sleep=questions.sleep) == "answer"
    assert questions.slept == list(PAUSES) == sorted(PAUSES)


async def test_the_last_failure_is_told() -> None:
    questions = Questions(*[UnavailableError(f"try {n}") for n in range(9)])
    with pytest.raises(UnavailableError, match="try 3"):
        await patiently(questions.ask, sleep=questions.sleep)
    assert questions.asked == 4


async def test_what_a_person_must_mend_is_told_at_once() -> None:
    questions = Questions(ConfigurationError("the key is refused"))
    with pytest.raises(ConfigurationError):
        await patiently(questions.ask, sleep=questions.sleep)
    assert (questions.asked, questions.slept) == (1, [])


async def test_a_rebuild_survives_every_third_read_failing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "PAUSES", (0.0, 0.0, 0.0))

    class Shaky:
        name = "wavespeed"
        capabilities = WaveSpeed.capabilities
        reads = 0

        def _shake(self) -> None:
            self.reads += 1
            if self.reads % 3 == 0:
                raise UnavailableError("HTTP 502")

        async def list_jobs(self, *, after: datetime, before: datetime) -> list[Candidate]:
            self._shake()
            return [Candidate(f"job-{before:%d}", "a/model", before, JobStatus.SUCCEEDED)]

        async def charges(self, **_: Any) -> list[Any]:
            self._shake()
            return []

    with Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget()) as ledger:
        found, aside = await rebuild._book_jobs(ledger, Shaky())  # type: ignore[arg-type]
    # an hour ahead and seven days back
    assert (len(found), aside) == (8, [])
