"""Shared by the sandbox's tests: a clock that a test moves, and a sandbox in this process with a client."""

from typing import Any

import httpx
from starlette.applications import Starlette

from proof.clock import Clock

KEY = {"Authorization": "Bearer sandbox"}
SORA = "openai/sora-2/text-to-video"


class Bench:
    """A sandbox in this process, its clock, and a client with the key."""

    def __init__(self, app: Starlette, clock: Clock) -> None:
        self.app, self.clock = app, clock
        self.client = self.stranger(KEY)

    def stranger(self, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://127.0.0.1", headers=headers
        )

    async def buy(self, prompt: str = "a hill", model: str = SORA, **params: Any) -> httpx.Response:
        return await self.client.post(f"/api/v3/{model}", json={"prompt": prompt, **params})

    async def bought(self, prompt: str = "a hill", model: str = SORA, **params: Any) -> str:
        return str((await self.buy(prompt, model, **params)).json()["data"]["id"])

    async def poll(self, job_id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/api/v3/predictions/{job_id}/result")
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["data"])

    async def generate(self, model: str = "openai/sora-2-pro-t2v", **params: Any) -> httpx.Response:
        headers = params.pop("headers", None)
        body = {"model": model, "prompt": "a hill", **params}
        return await self.client.post("/v2/video/generations", json=body, headers=headers)

    async def generation(self, job_id: str) -> httpx.Response:
        return await self.client.get("/v2/video/generations", params={"generation_id": job_id})

    async def books(self) -> dict[str, Any]:
        return dict((await self.client.get("/admin/books", params={"requests": "1"})).json())

    async def fault(self, when: dict[str, Any], then: dict[str, Any]) -> None:
        answer = await self.client.post(
            "/admin/faults", json={"faults": [{"name": "test", "when": when, "then": then}]}
        )
        assert answer.status_code == 200, answer.text
