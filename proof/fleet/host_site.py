"""What each host's Python does at its start, copied there as `sitecustomize`. Programs of any version of dailies run under it.

It puts the id of the submission on each POST, which WaveSpeed's client does not send: the provider's books then say which POST made a
job, and the judge does not have to ask the ledger. It also sets the host's clock wrong, where the scene wants that.
"""

import contextvars
import importlib.abc
import importlib.machinery
import os
import sys
import time
from typing import Any

CLIENT = "resources.providers.wavespeed.client"
TAG = "X-Client-Request-Id"
AHEAD = "FLEET_AHEAD_SECONDS"
"""The environment's variable: by how many seconds `time.time()` is ahead."""

_submission: contextvars.ContextVar[str | None] = contextvars.ContextVar("submission", default=None)


class ClientFinder(importlib.abc.MetaPathFinder):
    """Finds the client as Python does, and labels its POSTs when it has been loaded."""

    def find_spec(
        self, fullname: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See `MetaPathFinder`."""
        spec = (
            importlib.machinery.PathFinder.find_spec(fullname, path, target) if fullname == CLIENT else None
        )
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_label(module: Any) -> None:
                load(module)
                label_posts(module.WaveSpeed)

            spec.loader.exec_module = load_and_label  # type: ignore[method-assign]
        return spec


def label_posts(client: Any) -> None:
    """Let a client's submits carry the id of their submission, on the wire and nowhere else."""
    import httpx  # noqa: PLC0415 - no other program of the host has to load it

    submit, send = client.submit, httpx.AsyncClient.send

    async def submit_labelled(self: Any, *args: Any, submission_id: str, **options: Any) -> Any:
        token = _submission.set(submission_id)
        try:
            return await submit(self, *args, submission_id=submission_id, **options)
        finally:
            _submission.reset(token)

    async def send_labelled(self: Any, request: httpx.Request, **options: Any) -> httpx.Response:
        label = _submission.get()
        if label is not None:
            request.headers.setdefault(TAG, label)
        return await send(self, request, **options)

    client.submit = submit_labelled
    httpx.AsyncClient.send = send_labelled  # type: ignore[method-assign]


def set_clock_ahead(seconds: float) -> None:
    """Let `time.time()` be wrong for everybody but gRPC.

    gRPC's server waits until a moment by the kernel's clock, which this leaves as it is: told a moment five minutes ahead it
    answered nobody for five minutes.
    """
    real = time.time

    def ahead() -> float:
        asker = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001 - who asks
        return real() if asker.startswith("grpc") else real() + seconds

    time.time = ahead


if __name__ == "sitecustomize":
    sys.meta_path.insert(0, ClientFinder())
    if os.environ.get(AHEAD):
        set_clock_ahead(float(os.environ[AHEAD]))
