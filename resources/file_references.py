"""Files in requests, until they are uploaded and their addresses are sent."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_FILE = re.compile(r"(file|bucket):([^#\x00-\x1f]{1,500})#sha256=([0-9a-f]{64})")


@dataclass(frozen=True)
class FileReference:
    """A file in a request: `file:images/harbor.png#sha256=...`, until it is uploaded and its address is sent."""

    path: str
    """Below the data folder, with `/`; of an object in the bucket, its key."""
    sha256: str
    """SHA-256 of its content in hex; a file that has changed since is not sent."""
    is_in_bucket: bool = False
    """Whether it is an object in the bucket (`bucket:frames/...`) and no file of the data folder."""

    def __str__(self) -> str:
        return f"{'bucket' if self.is_in_bucket else 'file'}:{self.path}#sha256={self.sha256}"

    @classmethod
    def parse(cls, value: object) -> "FileReference | None":
        """The reference in a text, None for any other text."""
        match = _FILE.fullmatch(value) if isinstance(value, str) else None
        return cls(match[2], match[3], match[1] == "bucket") if match else None

    @classmethod
    def replaced(cls, body: dict[str, Any], change: "Callable[[FileReference], str]") -> dict[str, Any]:
        """A copy of a request body with every file in it replaced by a text."""

        def text(value: Any) -> Any:
            reference = cls.parse(value)
            return value if reference is None else change(reference)

        return {
            name: [text(item) for item in value] if isinstance(value, list) else text(value)
            for name, value in body.items()
        }

    @classmethod
    def of(cls, body: dict[str, Any]) -> "list[FileReference]":
        """Every file in a request body, each content once."""
        references: dict[str, FileReference] = {}
        cls.replaced(body, lambda reference: str(references.setdefault(reference.sha256, reference)))
        return list(references.values())


FIRST_FRAME = FileReference("frames/first-frame-of-the-draft", "0" * 64, is_in_bucket=True)
"""Stands for the first frame of a draft in the body of its finish, until the draft is bought and stored."""
