"""The files of Replicate's accounts: uploaded as a form, read with the token alone (`replicate` client: `files.create`)."""

import hashlib
import re
import secrets
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

from starlette.responses import JSONResponse, Response

from resources.sandbox.desk import WireCall, timestamp
from resources.sandbox.fronts.replicate.errors import problem
from resources.sandbox.uploads import MAX_BYTES


class UploadedFiles:
    """The files of all accounts, each kept for an hour.

    Args:
        directory: Where they are kept.
        path: The beginning of their addresses, e.g. `/replicate/v1/files`.
    """

    KEPT_SECONDS = 3_600.0

    def __init__(self, directory: Path, path: str) -> None:
        self._directory = directory
        self._base = path
        self._until: dict[Path, float] = {}

    async def post(self, call: WireCall) -> Response:
        """Take the field `content` of a form."""
        head = f"Content-Type: {call.request.headers.get('content-type', '')}\r\n\r\n".encode()
        form = BytesParser(policy=HTTP).parsebytes(head + call.raw)
        fields = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
        content = fields.get("content")
        data = None if content is None else content.get_payload(decode=True)
        if content is None or not isinstance(data, bytes) or not 0 < len(data) <= MAX_BYTES:
            return problem(422, "Invalid file", f"content: a file of 1 to {MAX_BYTES} bytes is required")
        name = secrets.token_hex(16)
        path = self._folder(call) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._until[path] = call.now + self.KEPT_SECONDS
        return JSONResponse(self._file(call, name, content.get_content_type(), data), status_code=201)

    async def get(self, call: WireCall) -> Response:
        """The record of an account's file, without its bytes."""
        name = call.request.path_params["file"]
        path = self._path(call, name)
        if path is None:
            return problem(404, "Not found", "The requested file could not be found.")
        return JSONResponse(self._file(call, name, "application/octet-stream", path.read_bytes()))

    def find(self, call: WireCall, url: str) -> Path | None:
        """The account's file at one of our addresses, None if there is none or it has expired.

        Raises:
            ValueError: The address is not ours.
        """
        start = f"{call.base_url}{self._base}/"
        if not url.startswith(start):
            raise ValueError("elsewhere")
        return self._path(call, url.removeprefix(start))

    def _file(self, call: WireCall, name: str, content_type: str, data: bytes) -> dict[str, object]:
        until = self._until[self._folder(call) / name]
        return {
            "id": name,
            "name": "content",
            "content_type": content_type,
            "size": len(data),
            "etag": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "checksums": {"sha256": hashlib.sha256(data).hexdigest()},
            "metadata": {},
            "created_at": timestamp(until - self.KEPT_SECONDS),
            "expires_at": timestamp(until),
            "urls": {"get": f"{call.base_url}{self._base}/{name}"},
        }

    def _folder(self, call: WireCall) -> Path:
        return self._directory / hashlib.sha256(call.account.encode()).hexdigest()[:16]

    def _path(self, call: WireCall, name: str) -> Path | None:
        path = self._folder(call) / name
        is_there = re.fullmatch(r"[0-9a-f]{32}", name) and call.now < self._until.get(path, 0.0)
        return path if is_there else None
