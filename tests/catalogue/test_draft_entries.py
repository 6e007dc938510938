"""Entries of models that make drafts, and of endpoints that finish them as the same shot."""

from pathlib import Path

import pytest

from resources.catalogue import Catalogue
from resources.money import usd

COMMON = """
provider: fal
title: A model
lifecycle: {status: live}
source: a page
checked: 2026-11-29
"""
MAKER = (
    COMMON
    + """
id: maker/text-to-video
kind: text-to-video
parameters:
  prompt: {type: string, required: true, description: What it shows.}
  duration: {type: string, default: "5", allowed: ["5", "8"], description: Seconds.}
  aspect_ratio: {type: string, default: "16:9", allowed: ["16:9", "9:16"], description: The shape.}
  draft: {type: boolean, default: false, description: A draft.}
pricing: {basis: listed, source: a page, usd: "0.1"}
drafts: {parameters: {draft: true}, finished_by: maker/complete, days: 7}
"""
)
FINISHER = (
    COMMON
    + """
id: maker/complete
kind: draft-to-video
parameters:
  draft_id: {type: string, required: true, description: The draft.}
  resolution: {type: string, default: 1080p, allowed: [720p, 1080p], description: The resolution.}
pricing: {basis: listed, source: a page, by: resolution, rates: {720p: "0.5", 1080p: "1.1"}}
draft_id: draft_id
output: {shape: aspect_ratio, seconds: duration}
"""
)


def load(folder: Path, **entries: str) -> Catalogue:
    for name, text in entries.items():
        (folder / f"{name}.yaml").write_text(text)
    return Catalogue.load(folder)


def test_the_price_and_frame_of_a_finish_follow_from_its_draft(tmp_path: Path) -> None:
    catalogue = load(tmp_path, maker=MAKER, finisher=FINISHER)
    assert catalogue.problems == []
    maker, finisher = catalogue.get("maker/text-to-video"), catalogue.get("maker/complete")
    draft = maker.resolve("A lamp.", {"duration": "8", "draft": True})
    body = finisher.resolve("A lamp.", {"draft_id": "d-1"})
    assert body == {"draft_id": "d-1", "resolution": "1080p"}
    assert finisher.price(body, draft=draft) == usd("8.8")
    assert finisher.price(body) is None
    expected = finisher.expected(body, draft=draft)
    assert (expected.duration, expected.shape) == (8, "16:9")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (FINISHER.replace("draft_id: draft_id", ""), "`draft_id` and the kind draft-to-video"),
        (FINISHER.replace("draft_id: draft_id", "draft_id: draft"), "reads the parameter 'draft'"),
        (MAKER.replace("{draft: true}", "{cheap: true}"), "reads the parameter 'cheap'"),
        (MAKER.replace("maker/complete", "maker/finish"), "is not an endpoint of fal"),
    ],
)
def test_an_invalid_entry_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    finisher = "" if "kind: draft" in text else FINISHER
    catalogue = load(tmp_path, broken=text, **({"finisher": finisher} if finisher else {}))
    assert problem in str(catalogue.problems[0])
