"""How plans, retries and the gallery treat earlier drafts and their finishes."""

import pytest
from ledgerkit import everything
from verdictkit import a_verdict

from pipelines.cli.failed_clips import failed_clips
from resources.errors import ConfigurationError
from resources.gallery.cards import read_cards
from resources.gallery.figures import Figures
from resources.gallery.pages import GalleryPage
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.verdicts import Word, judge
from resources.ledger.yields import YieldBy, read_yield
from resources.planning.draft_ways import draft_ways
from tests.ledger.test_finishes import CLIP, a_draft, bought, carried, circled, order_now, waits

PRICE = 2_000_000


@pytest.mark.slow
def test_only_judged_clips_count_for_the_share_of_finishes(ledger: Ledger) -> None:
    def share() -> tuple[int, int]:
        (way,) = draft_ways(ledger, [(a_draft(), 1, 400_000, 400_000)])
        return way.finished, way.drafted

    drafts = [bought(ledger, a_draft(clip=f"clip-{number}"))[0] for number in range(4)]
    assert share() == (0, 0), "nobody has judged a clip yet"
    judge(ledger, a_verdict(drafts[0], Word.REJECTED))
    circled(ledger, drafts[1])
    assert share() == (1, 2)
    carried(ledger)
    assert share() == (1, 2)
    judge(ledger, a_verdict(drafts[0], Word.TAKEN_BACK))
    assert share() == (1, 1)


def test_a_retry_of_a_clip_whose_finish_failed_names_the_command_for_it(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    (draft,) = bought(ledger, a_draft())
    circled(ledger, draft)
    carried(ledger, failing=True)
    with pytest.raises(ConfigurationError, match=f"`dailies finish {CLIP}` buys another finish"):
        failed_clips(ledger, [CLIP])
    assert failed_clips(ledger) == []
    assert f"dailies finish {CLIP}" in capsys.readouterr().err
    assert [wait.clip for wait in waits(ledger)] == [CLIP]
    assert order_now(ledger, at_most_micros=PRICE, who="ana").finish is not None
    assert len(everything(ledger)) == 3


def test_a_failed_draft_is_retried(ledger: Ledger) -> None:
    """The negative control."""
    decide(ledger, [a_draft()], Decision("monday"))
    carried(ledger, failing=True)
    assert failed_clips(ledger, [CLIP]) == failed_clips(ledger) == [CLIP]


def test_the_gallery_marks_drafts(ledger: Ledger) -> None:
    def page() -> str:
        return (
            GalleryPage(read_cards(ledger), Figures({}, [], [], [], {}, 0), "http://dagster").html().decode()
        )

    (draft,) = bought(ledger, a_draft())
    assert '<span class="chip">draft</span>' in page()
    circled(ledger, draft)
    carried(ledger)
    assert '<span class="chip">draft</span>' not in page()
    assert ">take 1, draft</a>" in page()
    assert ">take 2</a>" in page()


def test_the_finish_of_the_very_draft_counts_for_the_parts_of_its_prompt(ledger: Ledger) -> None:
    decide(ledger, [a_draft(same_shot=True, prompt="Scene: a bay\nCamera: slow")], Decision("monday"))
    (draft,) = carried(ledger, draft_id="d-77")
    ordered = circled(ledger, draft)
    assert ordered is not None
    assert ordered.finish is not None
    assert "prompt" not in ordered.finish.request.body
    carried(ledger)
    found = {line.name: (line.bought, line.circled) for line in read_yield(ledger, YieldBy.PROMPT)}
    assert found == {"camera: slow": (2, 1), "scene: a bay": (2, 1)}


def test_a_circled_draft_counts_as_judged_after_its_finish_has_its_circle(ledger: Ledger) -> None:
    def line() -> tuple[int, int, int, int]:
        (found,) = read_yield(ledger, YieldBy.SERIES)
        return found.takes, found.circled, found.rejected, found.unjudged

    (draft,), (other,), _ = (bought(ledger, a_draft(clip=f"clip-{number}")) for number in range(3))
    judge(ledger, a_verdict(other, Word.REJECTED))
    assert line() == (3, 0, 1, 2)
    circled(ledger, draft)
    assert line() == (3, 0, 1, 1)
    (finish,) = carried(ledger)
    assert line() == (4, 1, 1, 1)
    judge(ledger, a_verdict(finish, Word.TAKEN_BACK))
    assert line() == (4, 0, 1, 2)
