"""WaveSpeed's media uploads: a ticket, a PUT without the key and with exactly the ticket's headers, a public address."""

import mimetypes
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import FileResponse, JSONResponse, Response

from resources.sandbox.desk import WireCall, timestamp

MAX_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True)
class _Ticket:
    filename: str
    size: int
    content_type: str
    expires_at: float

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Type": self.content_type, "If-None-Match": "*"}


class Uploads:
    """Uploaded files, e.g. the image of an image-to-video job."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._tickets: dict[str, _Ticket] = {}

    async def ticket(self, call: WireCall) -> Response:
        """Return an address for the PUT of a file."""
        name, size = call.body.get("filename"), call.body.get("size")
        if not isinstance(name, str) or not isinstance(size, int) or not 0 < size <= MAX_BYTES:
            message = f"filename and size (1 to {MAX_BYTES} bytes) are required"
            return JSONResponse({"code": 400, "message": message, "data": {"code": 1400}}, status_code=400)
        filename = re.sub(r"[^A-Za-z0-9._-]", "-", name)[-100:].lstrip(".") or "file"
        guessed = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        ticket = _Ticket(filename, size, str(call.body.get("content_type") or guessed), call.now + 900)
        token = secrets.token_hex(16)
        self._tickets[token] = ticket
        address = f"{call.base_url}/uploads/{token}/{filename}"
        upload = {
            "method": "PUT",
            "url": address,
            "headers": ticket.headers,
            "expires_at": timestamp(ticket.expires_at),
        }
        kind = ticket.content_type.split("/")[0]
        data = {"type": kind, "download_url": address, "filename": filename, "size": size, "upload": upload}
        return JSONResponse({"code": 200, "message": "success", "data": data})

    async def put(self, call: WireCall) -> Response:
        """Accept the file like a storage host: exactly what the ticket says, and once."""
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
        size = 0
        with partial.open("wb") as file:
            async for piece in call.request.stream():
                size += len(piece)
                if size > ticket.size:
                    break
                file.write(piece)
        if size != ticket.size:
            partial.unlink()
            return Response("EntityTooLarge" if size > ticket.size else "IncompleteBody", status_code=400)
        partial.replace(folder / ticket.filename)
        del self._tickets[token]
        return Response(status_code=200)

    async def get(self, call: WireCall) -> Response:
        """The file, for everybody who has its address."""
        path = self._path(call.request.path_params["token"], call.request.path_params["filename"])
        return Response("NoSuchKey", status_code=404) if path is None else FileResponse(path)

    def find(self, url: str, base_url: str) -> Path | None:
        """The file at one of our addresses, None if there is none.

        Raises:
            ValueError: The address is not ours.
        """
        below = url.removeprefix(f"{base_url}/uploads/")
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
