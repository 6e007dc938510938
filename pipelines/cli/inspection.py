"""`dailies inspect`: the facts, the time line and every check of a file, as a delivery would find them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.cli.terminal import console
from resources.errors import ConfigurationError
from resources.orders import ClipRequest, Expected
from resources.plain import legible
from resources.video.facts import Inspection, UnreadableVideoError, VideoFacts
from resources.video.inspector import VideoInspector
from resources.video.judge import Check, judge, unreadable

COLOURS = {"passed": "green", "warned": "yellow", "failed": "red", "skipped": "dim"}


@dataclass(frozen=True)
class Inspected:
    """One file with its checks."""

    path: Path
    inspection: Inspection | None
    """None if the file could not be read."""
    checks: list[Check]

    @property
    def failed(self) -> bool:
        """Whether a delivery would put it in quarantine."""
        return any(check.outcome == "failed" for check in self.checks)


def request_for(
    size: str | None, duration: float | None, audio: bool | None, fps: float | None
) -> ClipRequest:
    """The request of a clip that no series declares, with the default checks.

    Args:
        size: Pixels as `1280x720`, or a shape as `16:9`.
        duration: Seconds.
        audio: Whether there should be sound.
        fps: Frames a second.

    Raises:
        ConfigurationError: The size is in neither form.
    """
    expected = Expected(duration=duration, audio=audio, fps=fps)
    if size is not None:
        match = re.fullmatch(r"([1-9]\d{0,4})(x|:)([1-9]\d{0,4})", size)
        if match is None:
            raise ConfigurationError(
                f"--size {size!r}: allowed are pixels such as 1280x720, or a shape such as 16:9"
            )
        wide, sign, high = match.groups()
        known = {"width": int(wide), "height": int(high)} if sign == "x" else {"shape": size}
        expected = Expected.model_validate(expected.model_dump() | known)
    return ClipRequest(
        clip="a-file", series="none", provider="", endpoint="", body={}, price_micros=None, expected=expected
    )


def inspect_files(paths: Sequence[Path], request: ClipRequest) -> list[Inspected]:
    """Inspect files one after the other, and check them against one request."""
    results = []
    with VideoInspector() as inspector:
        for path in paths:
            try:
                shortest = request.checks.shortest_stretch_seconds
                inspection = inspector.inspect(path, shortest_seconds=shortest)
            except UnreadableVideoError as error:
                results.append(Inspected(path, None, unreadable(str(error))))
            else:
                results.append(Inspected(path, inspection, judge(inspection, request)))
    return results


def show(inspected: Inspected) -> None:
    """Print the result for a person."""
    console.print(Text(legible(str(inspected.path)), style="bold"))
    if inspected.inspection is not None:
        table = Table(box=None, show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for name, value in _facts(inspected.inspection):
            table.add_row(name, Text(value))
        console.print(table)
    table = Table(box=None)
    for column in ("check", "outcome", "numbers", "what it says"):
        table.add_column(column, overflow="fold")
    for check in inspected.checks:
        numbers = ", ".join(f"{name} {value:g}" for name, value in check.measured.items())
        detail = legible(check.detail)
        table.add_row(check.name, Text(check.outcome, style=COLOURS[check.outcome]), numbers, Text(detail))
    console.print(table)
    console.print()


def document(inspected: Inspected) -> dict[str, Any]:
    """The result as JSON; times are in seconds."""
    inspection = inspected.inspection
    looked = inspection.looked if inspection else None
    return {
        "file": str(inspected.path),
        "failed": inspected.failed,
        "facts": inspection.video.model_dump(mode="json") if inspection else None,
        "looked": looked.model_dump(mode="json") if looked else None,
        "checks": [check.model_dump(mode="json") for check in inspected.checks],
    }


def _facts(inspection: Inspection) -> list[tuple[str, str]]:
    video, looked = inspection.video, inspection.looked
    rows = [
        ("shown", f"{video.width}x{video.height}{_changes(video)}, {video.fps:g} frames a second"),
        ("plays", f"{video.duration:g} s"),
        ("picture", f"{video.video_codec}{_span(video, 'picture')}"),
        ("sound", f"{video.audio_codec}{_span(video, 'sound')}" if video.audio_codec else "none"),
        ("file", f"{video.size_bytes:,} bytes, the index {'first' if video.faststart else 'last'}"),
    ]
    if video.truncated or video.trailing_bytes:
        rows.append(("end", "missing" if video.truncated else f"{video.trailing_bytes:,} bytes too many"))
    if looked is not None:
        rows.append(("looked at", f"{looked.seconds:g} s"))
        for name in ("black", "frozen", "silent"):
            stretch = getattr(looked, name)
            if stretch is not None:
                rows.append((name, f"{stretch[0]:g} s to {stretch[1]:g} s"))
    return rows


def _changes(video: VideoFacts) -> str:
    """How the shown picture differs from the stored one."""
    changes = []
    if video.pixel_aspect != 1:
        changes.append(f"pixels {video.pixel_aspect:g} times as wide as high")
    if video.rotation:
        changes.append(f"turned by {video.rotation} degrees")
    return f" ({', '.join(changes)})" if changes else ""


def _span(video: VideoFacts, name: str) -> str:
    track = getattr(video, name)
    if track is None:
        return ", no sample of it"
    gap = f", nothing from {track.gap[0]:g} s to {track.gap[1]:g} s" if track.gap else ""
    return f" from {track.start:g} s to {track.end:g} s{gap}"
