"""Files that are uploaded to the sandbox: a ticket, a PUT without the key and with exactly the ticket's headers, a public address."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import FileResponse, Response

from resources.sandbox.desk import WireCall

MAX_BYTES = 200 * 1024 * 1024
TICKET_SECONDS = 900


@dataclass(frozen=True)
class UploadTicket:
    """A permission to upload one file."""

    filename: str
    """The file's name, as its address has it."""
    size: int | None
    """Bytes; None if the provider does not ask for them."""
    headers: Mapping[str, str]
    """The headers that the upload must have."""
    expires_at: float
    """When it expires, seconds since the epoch."""


class Uploads:
    """The uploaded files of one provider, e.g. the image of an image-to-video job.

    Args:
        directory: Where they are kept.
        path: The beginning of their addresses, e.g. `/uploads`.
    """

    def __init__(self, directory: Path, path: str = "/uploads") -> None:
        self._directory = directory
        self._base = path
        self._tickets: dict[str, UploadTicket] = {}

    def issue(
        self, call: WireCall, name: str, size: int | None, headers: Mapping[str, str]
    ) -> tuple[str, UploadTicket]:
        """A ticket, and the address for the PUT and later for the file."""
        filename = re.sub(r"[^A-Za-z0-9._-]", "-", name)[-100:].lstrip(".") or "file"
        ticket = UploadTicket(filename, size, headers, call.now + TICKET_SECONDS)
        token = secrets.token_hex(16)
        self._tickets[token] = ticket
        return f"{call.base_url}{self._base}/{token}/{filename}", ticket

    async def put(self, call: WireCall) -> Response:
        """Accept the file as a storage host does: exactly as the ticket describes it, and once."""
        token = call.request.path_params["token"]
        ticket = self._tickets.get(token)
        sent = call.request.headers
        if ticket is None or call.now > ticket.expires_at or "authorization" in sent:
            return Response("AccessDenied", status_code=403)
        if any(sent.get(name) != value for name, value in ticket.headers.items()):
            return Response("SignatureDoesNotMatch", status_code=403)
        folder = self._directory / token
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / ".partial"
        size, most = 0, MAX_BYTES if ticket.size is None else ticket.size
        with partial.open("wb") as file:
            async for piece in call.request.stream():
                size += len(piece)
                if size > most:
                    break
                file.write(piece)
        if size > most or (ticket.size is not None and size != ticket.size):
            partial.unlink()
            return Response("EntityTooLarge" if size > most else "IncompleteBody", status_code=400)
        partial.replace(folder / ticket.filename)
        del self._tickets[token]
        return Response(status_code=200)

    async def get(self, call: WireCall) -> Response:
        """The file, for anyone who has its address."""
        path = self._path(call.request.path_params["token"], call.request.path_params["filename"])
        return Response("NoSuchKey", status_code=404) if path is None else FileResponse(path)

    def find(self, url: str, base_url: str) -> Path | None:
        """The file at one of our addresses; None if there is none.

        Raises:
            ValueError: The address is not ours.
        """
        below = url.removeprefix(f"{base_url}{self._base}/")
        token, _, filename = below.partition("/")
        if below == url:
            raise ValueError("elsewhere")
        return self._path(token, filename)

    def _path(self, token: str, filename: str) -> Path | None:
        path = self._directory / token / filename
        good = (
            re.fullmatch(r"[0-9a-f]{32}", token) and filename and filename[0] != "." and "/" not in filename
        )
        return path if good and path.is_file() else None
