"""Local files of bought clips: uploaded first, once per content, and never by delaying other work."""

import asyncio
import base64
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import SORA, run, submit_queue
from pictures import png, put
from providerkit import BareProvider

from proof.clock import Clock
from resources.catalogue import DataFolder
from resources.file_references import FileReference
from resources.ledger import stops, uploads
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.states import AttemptState, MoneyState
from resources.orders import ClipRequest, Expected
from resources.production.account import Account
from resources.production.engine import Engine
from resources.production.ledger_thread import LedgerThread
from resources.production.request_files import RequestFiles
from resources.production.uploader import Uploader
from resources.providers.base import Accepted, FailureKind, Rejected, SubmitOutcome, Uploaded, UploadFailed
from resources.providers.provider import Capabilities

PASSING = UploadFailed("HTTP 503", FailureKind.PROVIDER)


class Studio(BareProvider):
    """A provider that accepts files, and their data folder."""

    def __init__(self, root: Path, *, takes_files: bool = True) -> None:
        self.folder = DataFolder(root)
        seconds = 3600.0 if takes_files else None
        self.capabilities = Capabilities(
            echoes_submission_id=True,
            output_seconds=7 * 86_400,
            settle_seconds=60,
            upload_seconds=seconds,
        )
        self.order: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.uploaded: list[bytes] = []
        self.answers: list[UploadFailed] = []
        self.refusals: list[Rejected] = []

    async def upload(self, name: str, content_type: str, data: bytes) -> Uploaded | UploadFailed:
        self.order.append("upload")
        assert content_type == "image/png"
        await asyncio.sleep(0.1)
        if self.answers:
            return self.answers.pop(0)
        self.uploaded.append(data)
        return Uploaded(f"https://files.example/{len(self.uploaded)}/{name}")

    async def submit(
        self, endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        self.order.append("submit")
        self.bodies.append(body)
        if self.refusals:
            return self.refusals.pop(0)
        return Accepted(f"job-{len(self.bodies)}", endpoint, {})

    async def balance(self) -> int:
        return 10**9

    async def check(self) -> None: ...

    def request(self, clip: str, image: str) -> ClipRequest:
        value = image if "://" in image else str(self.folder.find(image, media="image").reference)
        return ClipRequest(
            clip=clip,
            series="stills",
            provider="wavespeed",
            endpoint=SORA,
            body={"prompt": clip, "image": value, "duration": 4},
            price_micros=400_000,
            expected=Expected(),
        )


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    put(tmp_path, "images/hill.png", png(64, 48))
    put(tmp_path, "images/again.png", png(64, 48))
    put(tmp_path, "images/sea.png", png(48, 64))
    return Studio(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(ledger_url: str, clock: Clock) -> Iterator[Ledger]:
    with Ledger(ledger_url, clock=clock, budget=Budget()) as opened:
        yield opened


def buy(
    ledger: Ledger,
    studio: Studio,
    requests: list[ClipRequest],
    *,
    decision: str = "monday",
    known: bool = True,
) -> dict[str, AttemptState]:
    """Decide and send the queue once, as a run that leaves does."""
    decide(ledger, requests, Decision(decision))

    async def send() -> None:
        engine = Engine(
            ledger, {"wavespeed": Account(studio)}, files=RequestFiles(studio.folder) if known else None
        )
        try:
            await submit_queue(engine)
        finally:
            await engine.aclose()

    assert isinstance(ledger.clock, Clock)
    run(ledger.clock, send())
    return {key: attempt.state for key, attempt in ledger.latest([r.clip for r in requests]).items()}


def test_a_file_is_uploaded_before_its_clip_is_bought_and_the_request_has_its_address(ledger, studio):
    states = buy(ledger, studio, [studio.request("one-clip", "images/hill.png")])
    assert states == {"one-clip": AttemptState.SUBMITTED}
    assert studio.order == ["upload", "submit"]
    assert studio.uploaded == [png(64, 48)]
    assert studio.bodies[0]["image"].startswith("https://files.example/1/")
    assert studio.bodies[0]["duration"] == 4


@pytest.mark.slow
def test_one_content_is_uploaded_once_while_its_upload_lives(ledger, studio, clock):
    first = [studio.request(f"clip-{n}", "images/hill.png") for n in range(40)]
    first.append(studio.request("clip-copy", "images/again.png"))
    first.append(studio.request("clip-sea", "images/sea.png"))
    first.append(studio.request("clip-url", "https://example.com/a.png"))
    assert set(buy(ledger, studio, first).values()) == {AttemptState.SUBMITTED}
    assert studio.uploaded == [png(64, 48), png(48, 64)]
    assert studio.bodies[-1]["image"] == "https://example.com/a.png"
    buy(ledger, studio, [studio.request("next-day", "images/hill.png")], decision="tuesday")
    assert len(studio.uploaded) == 2
    clock.now += 3601
    buy(ledger, studio, [studio.request("much-later", "images/hill.png")], decision="wednesday")
    assert len(studio.uploaded) == 3


def test_fetching_an_earlier_folder_does_not_block_the_ledger(ledger, studio, tmp_path):
    """A hanging S3 would delay the outcomes of POSTs until their deadlines."""
    decide(ledger, [studio.request("one-clip", "images/hill.png")], Decision("monday"))
    put(tmp_path / "earlier", "images/hill.png", png(64, 48))
    put(tmp_path, "images/hill.png", png(48, 64))
    asked, worked = threading.Event(), threading.Event()

    def fetched() -> list[Path]:
        asked.set()
        return [tmp_path / "earlier"] if worked.wait(10) else []

    async def upload() -> None:
        thread = LedgerThread(ledger)
        uploader = Uploader(thread, RequestFiles(studio.folder, None, fetched))
        uploading = asyncio.create_task(uploader.upload_files(studio))
        await asyncio.to_thread(asked.wait, 60)
        await thread.run(lambda _: worked.set())
        await uploading
        thread.close()

    asyncio.run(upload())
    assert studio.uploaded == [png(64, 48)]


def test_a_temporary_upload_failure_is_retried(ledger, studio):
    studio.answers = [PASSING, UploadFailed("429", FailureKind.THROTTLED, retry_after=5)]
    assert buy(ledger, studio, [studio.request("one-clip", "images/hill.png")]) == {
        "one-clip": AttemptState.SUBMITTED
    }
    assert studio.order == ["upload", "upload", "upload", "submit"]


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([PASSING] * 3, FailureKind.PROVIDER),
        ([UploadFailed("429", FailureKind.THROTTLED)] * 3, FailureKind.PROVIDER),
        ([UploadFailed("no such type", FailureKind.INVALID)], FailureKind.INVALID),
    ],
)
def test_a_file_that_cannot_be_uploaded_fails_only_its_clips_and_costs_nothing(ledger, studio, answers, kind):
    studio.answers = list(answers)
    requests = [
        studio.request("bad-one", "images/hill.png"),
        studio.request("no-file", "https://example.com/a.png"),
        studio.request("bad-two", "images/hill.png"),
    ]
    states = buy(ledger, studio, requests)
    assert states == {
        "bad-one": AttemptState.REJECTED,
        "no-file": AttemptState.SUBMITTED,
        "bad-two": AttemptState.REJECTED,
    }
    assert studio.order.count("upload") == len(answers)
    failed = ledger.latest(["bad-one"])["bad-one"]
    assert (failed.money_state, failed.reason_kind) == (MoneyState.RELEASED, kind)
    assert "images/hill.png could not be uploaded" in failed.reason
    assert stops.stop_of(ledger, "wavespeed") is None


def test_a_retried_clip_uploads_its_file(ledger, studio, clock):
    studio.answers = [PASSING] * 3
    request = studio.request("one-clip", "images/hill.png")
    assert buy(ledger, studio, [request]) == {"one-clip": AttemptState.REJECTED}
    assert buy(ledger, studio, [request], decision="retry") == {"one-clip": AttemptState.SUBMITTED}
    assert len(studio.bodies) == 1


def test_a_key_that_is_refused_stops_the_account_and_keeps_the_clip_queued(ledger, studio):
    studio.answers = [UploadFailed("Invalid API key", FailureKind.AUTH)]
    assert buy(ledger, studio, [studio.request("one-clip", "images/hill.png")]) == {
        "one-clip": AttemptState.QUEUED
    }
    assert stops.stop_of(ledger, "wavespeed") is not None
    assert studio.bodies == []


def test_a_file_whose_upload_is_gone_is_uploaded_again_at_the_next_purchase(ledger, studio):
    request = studio.request("one-clip", "images/hill.png")
    studio.refusals = [Rejected(FailureKind.INVALID, "media access failed", 400)]
    assert buy(ledger, studio, [request]) == {"one-clip": AttemptState.REJECTED}
    assert buy(ledger, studio, [request], decision="retry") == {"one-clip": AttemptState.SUBMITTED}
    assert studio.order == ["upload", "submit", "upload", "submit"]


def test_nothing_is_uploaded_while_buying_is_stopped(ledger, studio):
    stops.stop(ledger, reason="a test")
    request = studio.request("one-clip", "images/hill.png")
    buy(ledger, studio, [request])
    assert studio.order == []


def test_a_file_that_changed_since_its_prompt_is_not_sent(ledger, studio):
    request = studio.request("one-clip", "images/hill.png")
    put(studio.folder.root, "images/hill.png", png(64, 48, shade=3))
    assert buy(ledger, studio, [request]) == {"one-clip": AttemptState.REJECTED}
    assert "materialize `prompts` again" in ledger.latest(["one-clip"])["one-clip"].reason
    assert studio.order == []


@pytest.mark.postgresql
def test_a_file_outside_the_data_folder_is_not_sent(ledger, studio):
    put(studio.folder.root.parent, "secret.png", png(8, 8))
    forged = studio.request("one-clip", "https://x/a.png")
    body = {**forged.body, "image": str(FileReference("../secret.png", "0" * 64))}
    assert buy(ledger, studio, [forged.model_copy(update={"body": body})]) == {
        "one-clip": AttemptState.REJECTED
    }
    assert studio.order == []


def test_without_a_data_folder_a_clip_with_a_file_is_refused_and_the_others_are_bought(ledger, studio):
    requests = [studio.request("with-file", "images/hill.png"), studio.request("without", "https://x/a.png")]
    states = buy(ledger, studio, requests, known=False)
    assert states == {"with-file": AttemptState.REJECTED, "without": AttemptState.SUBMITTED}


def test_a_provider_without_uploads_gets_the_picture_inside_the_request(ledger, tmp_path):
    studio = Studio(tmp_path, takes_files=False)
    put(tmp_path, "images/hill.png", png(64, 48))
    buy(ledger, studio, [studio.request("one-clip", "images/hill.png")])
    head, _, encoded = studio.bodies[0]["image"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(encoded) == png(64, 48)


def test_two_processes_upload_a_content_once(ledger, ledger_url, studio, clock):
    reference = studio.folder.find("images/hill.png", media="image").reference
    with Ledger(ledger_url, clock=clock, budget=Budget()) as other:
        assert uploads.claim(ledger, "wavespeed", reference.sha256).mine
        assert uploads.claim(other, "wavespeed", reference.sha256) == uploads.Claim(None, mine=False)
        uploads.record(ledger, "wavespeed", reference.sha256, "https://files.example/a", lives_seconds=60)
        assert uploads.claim(other, "wavespeed", reference.sha256).url == "https://files.example/a"
        clock.now += 61
        assert uploads.address(other, "wavespeed", reference.sha256) is None
        assert uploads.claim(other, "wavespeed", reference.sha256).mine
        clock.now += uploads.CLAIM_SECONDS + 1
        # the process that claimed the upload has died
        assert uploads.claim(ledger, "wavespeed", reference.sha256).mine
        assert not uploads.claim(ledger, "aimlapi", reference.sha256).url
