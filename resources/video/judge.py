"""The checks of a clip: compared with the order and with the series' `checks`, one result for each check, in order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from resources.checks import Checks
from resources.orders import ClipRequest, Expected
from resources.video.facts import Inspection, Looked, Stretch, VideoFacts
from resources.video.perceptual_hash import same
from resources.video.stretches import MOST

Outcome = Literal["passed", "warned", "failed", "skipped"]

FPS_TOLERANCE = 0.5
"""Frames per second by which the frame rate may differ: 23.976 passes as 24."""
SHAPE_TOLERANCE = 0.05
"""Share by which the ratio of a frame may differ from 16:9 and the like, because encoders need multiples of 16 pixels."""
MOST_SILENT = 0.75
"""The same share for silence: a clip of 5 s with one second of sound once passed every check."""
MOST_MISSING = 0.5
"""The same share for a missing track."""


class Check(BaseModel):
    """The result of one check."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """`whole`, or the name of a field of a series' `checks`, e.g. `black`."""
    outcome: Outcome
    """`passed`, or else the level that the series sets for a failure; `skipped` if the check is off or has nothing to
    compare with."""
    detail: str = ""
    """One sentence for a person."""
    measured: dict[str, float] = Field(default_factory=dict)
    """The numbers behind it, e.g. `{"longest_seconds": 2.5, "from_seconds": 0.0}`."""


@dataclass(frozen=True)
class Sibling:
    """Another take of the series, for the check of duplicates."""

    clip: str
    """Its clip's key."""
    look: str
    """Its perceptual hash."""
    earlier: bool
    """Whether it was ordered before the clip, by the ledger's order."""


def unreadable(why: str) -> list[Check]:
    """The result for a file that could not be read."""
    return [Check(name="whole", outcome="failed", detail=why)]


def judge(
    inspection: Inspection,
    request: ClipRequest,
    *,
    served: str | None = None,
    nsfw: bool | None = None,
    siblings: Sequence[Sibling] = (),
) -> list[Check]:
    """The results of all checks of a clip.

    Args:
        served: The model that the provider says it used, None if it does not say.
        nsfw: Whether the provider says that the clip is not safe for work, None if it does not say.
        siblings: Other takes of the series.
    """
    facts, looked, checks = inspection.video, inspection.looked, request.checks
    results = [_whole(facts, looked)]
    results += _order_checks(facts, request)
    results += [_coverage(facts, checks), *_seen_and_heard(facts, looked, checks)]
    results += [_model(served, request), _nsfw(nsfw, checks), _credentials(inspection, checks)]
    results += [_duplicate(looked, siblings, checks)]
    return results


def _whole(facts: VideoFacts, looked: Looked | None) -> Check:
    detail = ""
    if facts.truncated:
        detail = "the file is cut off: it refers to bytes that are not there"
    elif looked is not None and looked.broken is not None:
        detail = f"the file is damaged: {looked.broken}"
    odd = []
    if facts.trailing_bytes:
        odd.append(f"the file is whole; {facts.trailing_bytes:,} bytes after its end belong to no box")
    if facts.speeds:
        odd.append("its edit list asks for another speed in parts, which few players support")
    if odd and not detail:
        measured: dict[str, float] = {"trailing_bytes": facts.trailing_bytes}
        return Check(name="whole", outcome="warned", detail="; ".join(odd), measured=measured)
    return Check(name="whole", outcome="failed" if detail else "passed", detail=detail)


def _order_checks(facts: VideoFacts, request: ClipRequest) -> Iterator[Check]:
    expected, checks = request.expected, request.checks
    yield _size(facts, expected, checks.size)
    seconds = expected.duration or 0.0
    yield _check(
        "duration",
        checks.duration if expected.duration is not None else None,
        abs(facts.duration - seconds) <= checks.duration_seconds,
        f"it lasts {facts.duration:.2f} s, asked for were {seconds:g} s",
        {"seconds": facts.duration},
    )
    fps = checks.fps if checks.fps is not None else expected.fps
    yield _check(
        "frame_rate",
        checks.frame_rate if fps is not None else None,
        abs(facts.fps - (fps or 0)) <= FPS_TOLERANCE,
        f"it has {facts.fps:g} frames a second, asked for were {fps or 0:g}",
        {"fps": facts.fps},
    )
    yield _codecs(facts, checks)
    says = (
        "there is no sound, though the endpoint promises it"
        if expected.audio
        else f"there is sound ({facts.audio_codec}), though the endpoint promises none"
    )
    yield _check(
        "audio", checks.audio if expected.audio is not None else None, facts.has_audio == expected.audio, says
    )


def _size(facts: VideoFacts, expected: Expected, level: str) -> Check:
    """Compare pixels if the request gives them, else the ratio of the frame."""
    width, height = expected.width or facts.width, expected.height or facts.height
    as_asked, expected_size = (width, height) == (facts.width, facts.height), f"{width}x{height}"
    known = bool(expected.width or expected.height)
    if not known and expected.shape is not None:
        wide, _, high = expected.shape.partition(":")
        ratio = facts.width * int(high) / (facts.height * int(wide)) if facts.height else 0.0
        known, as_asked, expected_size = True, abs(ratio - 1) <= SHAPE_TOLERANCE, expected.shape
    return _check(
        "size",
        level if known else None,
        as_asked,
        f"the picture is {facts.width}x{facts.height}, asked for was {expected_size}",
        {"width": facts.width, "height": facts.height},
    )


def _codecs(facts: VideoFacts, checks: Checks) -> Check:
    unusable = []
    if facts.video_codec not in checks.video_codecs:
        unusable.append(
            f"the picture's codec {facts.video_codec} is not one of {', '.join(checks.video_codecs)}"
        )
    if facts.audio_codec is not None and facts.audio_codec not in checks.audio_codecs:
        unusable.append(
            f"the sound's codec {facts.audio_codec} is not one of {', '.join(checks.audio_codecs)}"
        )
    return _check("codecs", checks.codecs, not unusable, "; ".join(unusable))


def _coverage(facts: VideoFacts, checks: Checks) -> Check:
    """Compare how long the picture and the sound each play with the longer of them."""
    with_sound = facts.sound is not None and checks.silence not in {"off", "allowed"}
    most = min(checks.coverage_seconds, MOST_MISSING * facts.duration)
    missing: list[str] = []
    measured: dict[str, float] = {}
    for what, track in (("picture", facts.picture), ("sound", facts.sound if with_sound else None)):
        if track is None:
            continue
        absent = [(0.0, track.start), track.gap or (0.0, 0.0), (track.end, facts.duration)]
        start, end = max(absent, key=lambda stretch: stretch[1] - stretch[0])
        total = max(0.0, track.start + track.missing_seconds + facts.duration - track.end)
        measured |= {f"{what}_from_seconds": track.start, f"{what}_until_seconds": track.end}
        measured[f"{what}_missing_seconds"] = round(total, 3)
        if total > most:
            missing.append(
                f"there is no {what} for {total:.1f} s of {facts.duration:.1f} s, longest from {start:.1f} s to {end:.1f} s"
            )
    level = checks.coverage if measured else None
    detail = f"{' and '.join(missing)}; at most {most:.1f} s may be missing"
    return _check("coverage", level, not missing, detail, measured)


def _seen_and_heard(facts: VideoFacts, looked: Looked | None, checks: Checks) -> Iterator[Check]:
    black, frozen, silent = (looked.black, looked.frozen, looked.silent) if looked else (None, None, None)
    partly = looked is None or (looked.broken is None and looked.seconds < facts.duration - 0.5)
    watched = 0.0 if looked is None else looked.seconds
    silence = "off" if checks.silence == "allowed" else checks.silence
    for name, level, longest, most, share, what in (
        ("black", checks.black, black, checks.black_seconds, MOST, "the picture is black"),
        ("frozen", checks.frozen, frozen, checks.frozen_seconds, MOST, "the picture stands still"),
        (
            "silence",
            silence if facts.has_audio else None,
            silent,
            checks.silence_seconds,
            MOST_SILENT,
            "it is silent",
        ),
    ):
        stretch = _stretch(name, level, longest, min(most, share * facts.duration), what)
        if partly and stretch.outcome == "passed":
            detail = f"only the first {watched:.0f} s of {facts.duration:.0f} s were looked at"
            stretch = stretch.model_copy(update={"outcome": "warned", "detail": detail})
        yield stretch


def _stretch(name: str, level: str | None, longest: Stretch | None, most: float, sentence: str) -> Check:
    start, end = longest or (0.0, 0.0)
    measured = {"longest_seconds": round(end - start, 3), "from_seconds": start} if longest else {}
    detail = f"{sentence} for {end - start:.1f} s, from {start:.1f} s on; at most {most:.1f} s are wanted"
    return _check(name, level, end - start <= most, detail, measured)


def _model(served: str | None, request: ClipRequest) -> Check:
    level = request.checks.model if served is not None else None
    as_bought = served is None or served.casefold() == request.endpoint.casefold()
    return _check("model", level, as_bought, f"{served} made it, and {request.endpoint} was bought")


def _nsfw(nsfw: bool | None, checks: Checks) -> Check:
    level = checks.nsfw if nsfw is not None else None
    return _check("nsfw", level, not nsfw, "the provider says that it is not safe for work")


def _credentials(inspection: Inspection, checks: Checks) -> Check:
    credentials = inspection.credentials
    if checks.credentials == "off":
        return _check("credentials", "off", True, "")
    if credentials is None:
        says = "it carries content credentials, which were not verified: c2pa-python is not installed here"
        return Check(name="credentials", outcome="skipped", detail=says)
    if credentials.state == "absent":
        return Check(name="credentials", outcome="skipped", detail="it carries no content credentials")
    says = f"its content credentials are invalid: {', '.join(credentials.problems)}"
    return _check("credentials", checks.credentials, credentials.state == "valid", says)


def _duplicate(looked: Looked | None, siblings: Sequence[Sibling], checks: Checks) -> Check:
    look = looked.look if looked else None
    if look is None or checks.duplicate == "off":
        return _check("duplicate", checks.duplicate if look else None, True, "")
    twins = [one for one in siblings if same(look, one.look, bits=checks.duplicate_bits)]
    twin = next((one for one in twins if one.earlier), twins[0] if twins else None)
    if twin is None or twin.earlier:
        says = f"it looks like {twin.clip}, an earlier clip of the series" if twin else ""
        return _check("duplicate", checks.duplicate, twin is None, says)
    # the other take is the duplicate, but its manifest is already written, so it is noted here
    says = f"{twin.clip}, a later clip of the series that was delivered first, looks like it"
    return Check(name="duplicate", outcome="warned", detail=says)


def _check(
    name: str, level: str | None, passed: bool, detail: str, measured: dict[str, float] | None = None
) -> Check:
    """One result; `level` is None if there is nothing to compare with."""
    outcome: Outcome = "passed" if passed else "failed" if level == "fail" else "warned"
    if level is None or level == "off":
        outcome = "skipped"
        detail = "off for this series" if level == "off" else "nothing to compare with"
    return Check(
        name=name,
        outcome=outcome,
        detail="" if outcome == "passed" else detail,
        measured=measured or {},
    )
