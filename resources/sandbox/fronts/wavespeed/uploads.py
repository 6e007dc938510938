"""WaveSpeed's tickets for media uploads."""

import mimetypes

from starlette.responses import JSONResponse, Response

from resources.sandbox.desk import WireCall, timestamp
from resources.sandbox.uploads import MAX_BYTES, Uploads


class MediaUploads(Uploads):
    """Its uploads; a ticket names the size and the type of the file."""

    async def ticket(self, call: WireCall) -> Response:
        """Return an address for the PUT of a file."""
        name, size = call.body.get("filename"), call.body.get("size")
        if not isinstance(name, str) or not isinstance(size, int) or not 0 < size <= MAX_BYTES:
            message = f"filename and size (1 to {MAX_BYTES} bytes) are required"
            return JSONResponse({"code": 400, "message": message, "data": {"code": 1400}}, status_code=400)
        guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
        content_type = str(call.body.get("content_type") or guessed)
        address, ticket = self.issue(call, name, size, {"Content-Type": content_type, "If-None-Match": "*"})
        upload = {
            "method": "PUT",
            "url": address,
            "headers": ticket.headers,
            "expires_at": timestamp(ticket.expires_at),
        }
        data = {
            "type": content_type.split("/", maxsplit=1)[0],
            "download_url": address,
            "filename": ticket.filename,
            "size": size,
            "upload": upload,
        }
        return JSONResponse({"code": 200, "message": "success", "data": data})
