"""Several accounts at one provider: each key has its own jobs, money, slots and callbacks."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from sandbox_bench import Bench

from resources.sandbox.books import Books

MODEL = "/api/v3/bytedance/seedance-2.0/text-to-video"
BODY = {"prompt": "a hill", "duration": 5, "resolution": "720p"}
LIST = {"page": 1, "page_size": 100}


async def data(client: httpx.AsyncClient, method: str, path: str, **how: Any) -> Any:
    answer = await client.request(method, path, **how)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_two_keys_are_two_accounts(make: Callable[..., Bench]) -> None:
    bench = make(slots=1, submits_per_minute=1, balance_usd="10")
    async with bench.client as first, bench.stranger({"Authorization": "Bearer sandbox.team-b"}) as second:
        one = await data(first, "POST", MODEL, json=BODY)
        two = await data(second, "POST", MODEL, json=BODY)
        # the first account's limit is reached, and each account has its own slots
        assert (await first.post(MODEL, json=BODY)).status_code == 429
        jobs = {job.id: job for job in bench.app.state.workshop.books.jobs()}
        assert jobs[one["id"]].starts_at == jobs[two["id"]].starts_at == jobs[one["id"]].received_at
        for client, own, other in ((first, one, two), (second, two, one)):
            listed = await data(client, "POST", "/api/v3/predictions", json=LIST)
            assert [item["id"] for item in listed["items"]] == [own["id"]]
            bill = await data(client, "POST", "/api/v3/billings/search", json=LIST)
            assert [row["prediction"]["uuid"] for row in bill["items"]] == [own["id"]]
            assert (await client.get(f"/api/v3/predictions/{other['id']}/result")).status_code == 404
            assert (await data(client, "GET", "/api/v3/balance"))["balance"] == pytest.approx(8.8)
        secrets = [
            (await data(client, "GET", "/api/v3/webhook/secret"))["secret"] for client in (first, second)
        ]
        assert len(set(secrets)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("key", ["", "sand", "sandboxx", "sandbox.", "sandbox.A", "sandbox.a b", "x.sandbox"])
async def test_another_key_is_refused(make: Callable[..., Bench], key: str) -> None:
    async with make().stranger({"Authorization": f"Bearer {key}"}) as client:
        assert (await client.get("/api/v3/balance")).status_code == 401


def test_a_state_from_before_the_accounts_is_kept(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.sqlite"
    with closing(sqlite3.connect(state)) as old:
        old.executescript(
            "CREATE TABLE jobs (number INTEGER PRIMARY KEY, id TEXT, provider TEXT, endpoint TEXT, model TEXT, media TEXT, body TEXT,"
            "params TEXT, submission_id TEXT, base_url TEXT, webhook TEXT, received_at REAL, starts_at REAL, ends_at REAL,"
            "price_micros INTEGER, fate TEXT, fails INTEGER, polls INTEGER DEFAULT 0, fetches INTEGER DEFAULT 0,"
            "deleted INTEGER DEFAULT 0, reported INTEGER DEFAULT 0);"
            "CREATE INDEX jobs_by_end ON jobs (provider, ends_at); CREATE INDEX jobs_by_time ON jobs (provider, received_at);"
            "INSERT INTO jobs VALUES (1, 'a', 'wavespeed', 'e', 'e', 'm', '{}', '{}', NULL, 'http://x', NULL, 1, 1, 2, 500000,"
            '\'{"size": null, "faults": []}\', 0, 0, 0, 0, 0);'
        )
    with closing(Books(state)) as books:
        (job,) = books.jobs("wavespeed")
        assert (job.account, books.ordered_micros("wavespeed")) == ("wavespeed", 500_000)
