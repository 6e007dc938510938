"""Replicate's errors."""

from starlette.responses import JSONResponse


def problem(status: int, title: str, detail: str) -> JSONResponse:
    """Replicate's error body."""
    return JSONResponse({"title": title, "detail": detail, "status": status}, status_code=status)
