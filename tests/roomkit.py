"""A room with clips to judge: a ledger and a bucket, filled without a provider."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from makers import make_mp4
from projects import ROOT

from resources.catalogue import Catalogue
from resources.ledger import finishes, polls
from resources.ledger.approvals import Approval
from resources.ledger.decisions import Decision, decide
from resources.ledger.deliveries import record_delivered
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Attempt, Submission
from resources.orders import Choice, ClipRequest, Expected, FinishOrder, Review
from resources.providers.base import Accepted, JobState, JobStatus
from resources.providers.provider import Capabilities
from resources.room.page_requests import RoomHouse, Shop
from resources.series import Declarations, load_series
from resources.series.prompt_editor import PromptEditor
from resources.series.review_rules import ReviewRules
from resources.storage.objects import ObjectStore

TERMS = Capabilities(echoes_submission_id=True, output_seconds=None, settle_seconds=60)
PIXEL = bytes.fromhex("52494646240000005745425056503820180000003001009d012a0100010001401c25a4000370fe0a0000")
_numbers = itertools.count()


def an_editor(folder: Path, **series: str) -> PromptEditor:
    """The editor of prompts in a data folder with these series; each text follows the name and the model."""
    data = folder / "data"
    (data / "series").mkdir(parents=True)
    models = Catalogue.load(ROOT / "data" / "models")
    for name, text in series.items():
        head = f"name: {name}\nendpoint: bytedance/seedance-2.0/text-to-video\n"
        (data / "series" / f"{name}.yaml").write_text(head + text)
    return PromptEditor(lambda: load_series(data, models), data, folder / "edits.lock")


def films(folder: Path, *, seconds: Sequence[float] = (1.0, 1.5, 1.0)) -> list[bytes]:
    """Short films that differ. The browser plays three at once, and draws the page anew for each of their few frames."""
    return [
        make_mp4(
            folder / f"film-{n}.mp4", width=160, height=90, fps=6, seconds=length, bars=3 + 2 * n
        ).read_bytes()
        for n, length in enumerate(seconds)
    ]


A_FINISH = FinishOrder(
    choice=Choice(
        provider="wavespeed",
        endpoint="pro",
        body={"prompt": "a quiet view", "duration": 5},
        price_micros=2_000_000,
        expected=Expected(),
    )
)


@dataclass
class Studio:
    """Clips in a ledger and a bucket."""

    ledger: Ledger
    store: ObjectStore
    films: Sequence[bytes]
    posters: Sequence[bytes] = field(default_factory=list)

    def take(
        self,
        clip: str,
        *,
        prompt: str = "",
        film: int = 0,
        series: str = "bay",
        review: Review | None = None,
        finish: FinishOrder | None = None,
        **facts: Any,
    ) -> Attempt:
        """Add a delivered take of a clip."""
        number = next(_numbers)
        request = ClipRequest(
            clip=clip,
            series=series,
            provider="wavespeed",
            endpoint="bytedance/seedance-2.0/text-to-video",
            body={"prompt": prompt or f"a quiet view of {clip}", "duration": 5, "seed": 100 + number},
            price_micros=400_000,
            expected=Expected(),
            review=review or Review(by="person" if finish else "none"),
            finish=finish,
        )
        decide(self.ledger, [request], Decision(f"take-{number}", regenerate=True))
        submission = claim_next(self.ledger, "wavespeed", PostTerms(Limits(), 30))
        assert isinstance(submission, Submission), submission
        job = f"room-job-{number}"
        attempt = record_outcome(self.ledger, submission, Accepted(job, None, {"id": job}))
        seen = JobState(JobStatus.SUCCEEDED, "completed", outputs=("https://cdn.example/clip.mp4",))
        attempt = polls.record_end(self.ledger, attempt, seen, TERMS)
        stem = f"videos/{clip}/{attempt.id}"
        data = self.films[film % len(self.films)]
        self.store.put_bytes(f"{stem}.mp4", data, content_type="video/mp4")
        delivery = {
            "key": f"{stem}.mp4",
            "uri": self.store.uri(f"{stem}.mp4"),
            "manifest_uri": self.store.uri(f"{stem}.json"),
            "size": len(data),
            "video": {"width": 320, "height": 180, "duration": 1.0, "has_audio": True},
            "checks": {"whole": "passed", "size": "passed", "black": "passed"},
            **facts,
        }
        if self.posters:
            poster = self.posters[film % len(self.posters)]
            self.store.put_bytes(f"{stem}.webp", poster, content_type="image/webp")
            delivery["poster_uri"] = self.store.uri(f"{stem}.webp")
        return record_delivered(self.ledger, attempt.id, delivery)

    def house(
        self,
        scratch: Path,
        *,
        shop: Shop | None = None,
        rules: ReviewRules | None = None,
        editor: PromptEditor | None = None,
        declared: Callable[[], Declarations] | None = None,
    ) -> RoomHouse:
        """The arguments of a room's server."""
        titles: Mapping[str, str] = {"bay": "The bay"}
        return RoomHouse(
            self.ledger,
            self.store,
            rules=lambda: rules or ReviewRules(),
            titles=lambda: titles,
            shop=shop,
            scratch=scratch,
            declared=declared,
            editor=editor,
        )


class FakeShop:
    """A shop that records the retakes that it sells."""

    def __init__(self) -> None:
        self.bought: dict[str, str] = {}

    def offer(self, clip: str) -> dict[str, Any]:
        cap = {"name": "everything day", "spent": "$3.20", "with_it": "$3.60", "cap": "$20.00"}
        return {
            "price": "$0.40",
            "order_fingerprint": "0f" * 32,
            "at_most_micros": 400_000,
            "endpoint": "bytedance/seedance-2.0/text-to-video",
            "is_draft": False,
            "refusal": None,
            "caps": [cap],
        }

    def offer_finish(self, draft: Attempt) -> dict[str, Any]:
        return self.offer(draft.clip) | {
            "endpoint": "pro",
            "price": "$2.00",
            "decision": f"finish:{draft.id}",
            "at_most_micros": 2_000_000,
            "way": "same direction",
            "waits": None,
        }

    def limits(self) -> finishes.Limits:
        return finishes.as_stored

    def buy(self, approval: Approval, *, request: str) -> str:
        assert (approval.order_fingerprint, approval.at_most_micros) == ("0f" * 32, 400_000)
        self.bought[request] = approval.clip
        return f"retake:{request}"
