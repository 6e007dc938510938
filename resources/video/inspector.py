"""Inspection of clips in guarded worker processes: each starts once, serves many clips, and is killed when it misbehaves."""

import atexit
import base64
import binascii
import functools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from resources.video.credentials import ABSENT
from resources.video.credentials_verifier import CredentialsVerifier, can_verify
from resources.video.facts import Inspection, Looked, UnreadableVideoError, VideoFacts
from resources.video.guarded_workers import GuardedWorkers


class VideoInspector(GuardedWorkers):
    """Inspects files in one or several worker processes. Threads may share it."""

    def __init__(
        self,
        *,
        workers: int = 1,
        seconds: float = 90,
        cpu_seconds: float = 40,
        files_per_worker: int = 200,
        max_worker_bytes: int = 400_000_000,
    ) -> None:
        """As `GuardedWorkers`; after half of its processor seconds, watching a clip ends early."""
        super().__init__(
            "resources.video.worker",
            workers=workers,
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            files_per_worker=files_per_worker,
            max_worker_bytes=max_worker_bytes,
        )
        self._verifier = CredentialsVerifier(workers=workers)

    def inspect(self, path: Path, *, poster_width: int = 480, shortest_seconds: float = 0.0) -> Inspection:
        """Inspect a file. Blocks: run it in a thread.

        Args:
            path: A local MP4.
            poster_width: Pixels; a smaller picture is not enlarged.
            shortest_seconds: The shortest black or still stretch that counts: shorter ones need not be found, which is
                cheaper where key frames are close.

        Raises:
            UnreadableVideoError: The file is damaged or hostile.
            resources.errors.UnavailableError: No worker can be started on this machine.
        """
        try:
            with path.open("rb") as file:
                options = {"poster_width": poster_width, "shortest_seconds": shortest_seconds}
                answer = self.ask(options, path.name, [file])
        except OSError as error:
            raise UnreadableVideoError(f"{path.name}: it cannot be read: {error.strerror}") from None
        return self._verified(_inspection_of(answer, path.name), path)

    def close(self) -> None:
        """End the workers; a busy worker ends after its file."""
        super().close()
        self._verifier.close()

    def _verified(self, inspection: Inspection, path: Path) -> Inspection:
        """The inspection with what the file's credentials say; the process that verifies starts with the first that has some."""
        if not inspection.video.c2pa:
            return replace(inspection, credentials=ABSENT)
        return replace(inspection, credentials=self._verifier.verify(path)) if can_verify() else inspection

    def seconds_of(self, file: BinaryIO, name: str) -> float:
        """The duration of a video's picture in seconds, by the times of its packets; nothing is decoded. Blocks.

        Args:
            name: The file's name in errors.

        Raises:
            UnreadableVideoError: The file is no video, damaged or hostile.
            resources.errors.UnavailableError: No worker can be started on this machine.
        """
        answer = self.ask({"measure": True}, name, [file])
        seconds = answer.get("seconds")
        if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
            raise UnreadableVideoError(f"{name}: {str(answer.get('error', 'it makes no sense'))[:300]}")
        return float(seconds)

    def first_frame_of(self, path: Path) -> bytes:
        """The first frame of a video as a PNG picture. Blocks: run it in a thread.

        Raises:
            UnreadableVideoError: The file is no video, damaged or hostile.
            resources.errors.UnavailableError: No worker can be started on this machine.
        """
        try:
            with path.open("rb") as file:
                answer = self.ask({"first_frame": True}, path.name, [file])
            data = base64.b64decode(str(answer.get("first_frame", "")), validate=True)
        except (OSError, binascii.Error) as error:
            raise UnreadableVideoError(f"{path.name}: its first frame cannot be read: {error}") from None
        if not data.startswith(b"\x89PNG\r\n\x1a\n"):
            raise UnreadableVideoError(
                f"{path.name}: {str(answer.get('error', 'its first frame is no picture'))[:300]}"
            )
        return data

    def compose(self, posters: list[bytes], failed: list[bool]) -> bytes:
        """A contact sheet of some posters, as WebP. Blocks: run it in a thread.

        Args:
            posters: WebP pictures, at most `resources.video.sheets.MOST`.
            failed: Whether each poster gets a red frame.

        Raises:
            UnreadableVideoError: A poster is damaged or hostile.
            resources.errors.UnavailableError: No worker can be started on this machine.
        """
        texts = [base64.b64encode(poster).decode() for poster in posters]
        answer = self.ask({"posters": texts, "failed": failed}, "the contact sheet")
        try:
            sheet = _picture(answer.get("sheet"))
        except (binascii.Error, TypeError, ValueError):
            sheet = None
        if sheet is None:
            raise UnreadableVideoError(
                f"the contact sheet: {str(answer.get('error', 'it makes no sense'))[:300]}"
            )
        return sheet


def own_inspector() -> VideoInspector:
    """The inspector of this process; its worker starts with the first video and ends with the process."""
    return _own_inspector(os.getpid())


def inspect_video(path: Path, *, poster_width: int = 480) -> Inspection:
    """Inspect one file with the inspector of this process; see `VideoInspector.inspect`."""
    return own_inspector().inspect(path, poster_width=poster_width)


@functools.cache
def _own_inspector(_pid: int) -> VideoInspector:
    # one for each process: a forked child must not use its parent's pipes
    inspector = VideoInspector()
    atexit.register(inspector.close)
    return inspector


def _inspection_of(answer: dict[str, Any], name: str) -> Inspection:
    """The worker's answer, checked field by field: an attacker may control the worker."""
    if "error" in answer:
        raise UnreadableVideoError(f"{name}: {str(answer['error'])[:300]}")
    try:
        facts = VideoFacts.model_validate(answer.get("video"))
        looked = Looked.model_validate(answer["looked"]) if answer.get("looked") else None
        poster, strip = _picture(answer.get("poster")), _picture(answer.get("strip"))
    except (ValidationError, binascii.Error, TypeError, ValueError):
        raise UnreadableVideoError(f"{name}: what it says of itself makes no sense") from None
    return Inspection(facts, poster, strip, looked)


def _picture(text: str | None) -> bytes | None:
    """A WebP picture; None for anything else."""
    data = base64.b64decode(text, validate=True) if text else b""
    return data if (data[:4], data[8:12]) == (b"RIFF", b"WEBP") else None
