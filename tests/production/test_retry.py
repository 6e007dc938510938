"""Free requests are repeated a few times, and only if that can help. A purchase is never repeated."""

import ast
import asyncio
import logging
import re
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from providerkit import BareProvider

from resources import retry
from resources.errors import ConfigurationError, UnavailableError
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.production import ledger_rebuild
from resources.providers.base import Candidate, Charge, JobStatus
from resources.providers.rows import Rows
from resources.providers.wavespeed.client import WaveSpeed
from resources.retry import retry_free_call, ride_out

HOUSE = Path(retry.__file__).parent.parent
RETRIES = ("retry_free_call(", "retry.retry_free_call(", "ride_out(", "retry.ride_out(")
POSTS = re.compile(r"(.*\.)?(provider|_http)\.submit\(")


class Questions:
    """A free request that first fails with these errors."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked = 0

    async def ask(self) -> str:
        return self.ask_and_block()

    def ask_and_block(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of every pause that the event loop was asked for."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return pauses


async def test_a_failed_request_is_repeated_with_growing_pauses(slept: list[float]) -> None:
    questions = Questions(*[UnavailableError("HTTP 502")] * 3)
    assert await retry_free_call(questions.ask) == "answer"
    assert slept == [1, 3, 9]


async def test_the_last_failure_is_raised(slept: list[float]) -> None:
    questions = Questions(*[UnavailableError(f"try {n}") for n in range(9)])
    with pytest.raises(UnavailableError, match="try 3"):
        await retry_free_call(questions.ask)
    assert questions.asked == 4


async def test_an_error_that_a_person_must_fix_is_raised_at_once(slept: list[float]) -> None:
    questions = Questions(ConfigurationError("the key is refused"))
    with pytest.raises(ConfigurationError):
        await retry_free_call(questions.ask)
    assert (questions.asked, slept) == (1, [])


async def test_a_caller_can_set_the_pause_that_the_server_requested(slept: list[float]) -> None:
    questions = Questions(UnavailableError("HTTP 429"), UnavailableError("HTTP 502"))
    waits: Iterator[bool | float] = iter([7.5, True])
    assert await retry_free_call(questions.ask, on=lambda _error: next(waits)) == "answer"
    assert slept == [7.5, 3]


async def test_the_log_names_the_failure_without_a_signature(
    slept: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    questions = Questions(UnavailableError("https://cdn.test/clip.mp4?X-Amz-Signature=abc answers 503"))
    with caplog.at_level(logging.WARNING, logger="dailies"):
        await retry_free_call(questions.ask)
    assert "https://cdn.test/clip.mp4" in caplog.text
    assert "trying again in 1.0 s" in caplog.text
    assert "abc" not in caplog.text


@pytest.mark.usefixtures("no_pauses")
def test_an_outage_is_ridden_out_unless_there_is_no_time_for_it() -> None:
    outage = [UnavailableError("down")] * 5
    questions = Questions(*outage)
    assert ride_out(questions.ask_and_block, on=UnavailableError, seconds=60) == "answer"
    questions = Questions(*outage)
    with pytest.raises(UnavailableError):
        ride_out(questions.ask_and_block, on=UnavailableError, seconds=0)
    assert questions.asked == 1


def retried_purchases(source: str) -> list[str]:
    """Places in a module that may repeat a purchase: a retried call that submits, or any retry beside the POST itself."""
    if "submit" not in source:
        return []
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    calls = [ast.unparse(node) for node in nodes if isinstance(node, ast.Call)]
    retried = [call for call in calls if call.startswith(RETRIES) and "submit" in call]
    posts = [call for call in calls if POSTS.match(call)]
    return retried + (posts if _imports(tree, "resources.retry") else [])


def _imports(tree: ast.AST, module: str) -> bool:
    package, _, name = module.rpartition(".")
    return any(
        (isinstance(node, ast.Import) and any(alias.name == module for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == module)
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == package
            and any(a.name == name for a in node.names)
        )
        for node in ast.walk(tree)
    )


def product() -> Iterator[tuple[str, str]]:
    for folder in ("resources", "pipelines"):
        for path in sorted((HOUSE / folder).rglob("*.py")):
            yield str(path.relative_to(HOUSE)), path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_no_purchase_is_retried() -> None:
    assert {name: found for name, source in product() if (found := retried_purchases(source))} == {}


def test_only_one_module_repeats_calls() -> None:
    assert [
        name for name, source in product() if "stamina" in source and _imports(ast.parse(source), "stamina")
    ] == ["resources/retry.py"]


@pytest.mark.parametrize(
    "module", ["production/submitter.py", "providers/wavespeed/client.py", "providers/aimlapi/client.py"]
)
@pytest.mark.parametrize(
    "line", ["from resources.retry import retry_free_call", "from resources import retry"]
)
def test_a_retry_beside_a_purchase_is_found(module: str, line: str) -> None:
    source = (HOUSE / "resources" / module).read_text(encoding="utf-8")
    assert retried_purchases(source) == []
    assert retried_purchases(f"{line}\n{source}") != []


def test_a_retried_step_that_buys_is_found() -> None:
    assert retried_purchases("await retry_free_call(lambda: engine.submit_queue('wavespeed'))") != []
    assert retried_purchases("await retry_free_call(provider.balance)") == []


@pytest.mark.usefixtures("no_pauses")
async def test_a_rebuild_survives_every_third_read_failing(tmp_path: Path) -> None:
    class Shaky(BareProvider):
        capabilities = WaveSpeed.capabilities
        reads = 0

        def _shake(self) -> None:
            self.reads += 1
            if self.reads % 3 == 0:
                raise UnavailableError("HTTP 502")

        async def list_jobs(
            self, *, after: datetime, before: datetime, endpoints: Collection[str]
        ) -> Rows[Candidate]:
            self._shake()
            return Rows([Candidate(f"job-{before:%d}", "a/model", before, JobStatus.SUCCEEDED)])

        async def charges(self, *, after: datetime, before: datetime) -> Rows[Charge]:
            self._shake()
            return Rows()

    with Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget()) as ledger:
        found, aside = await ledger_rebuild._book_jobs(ledger, Shaky())
    # the sweep's window: from seven days back to an hour ahead
    assert (len(found), aside) == (8, [])
