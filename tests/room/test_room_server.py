"""The room's server: clips, verdicts and retakes for people with the right, and no other object of the bucket."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from roomkit import A_FINISH, FakeShop, Studio

from resources.ledger import queue
from resources.ledger.decisions import Decision, decide
from resources.ledger.former_names import record_rename
from resources.ledger.takes import takes_of
from resources.ledger.verdicts import unstored, verdicts_of
from resources.orders import Review
from resources.room import documents
from resources.room.server import RoomServer
from resources.series.review_rules import ReviewRules
from resources.storage.layout import VERDICTS

pytestmark = pytest.mark.slow


@pytest.fixture
def client(server: RoomServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as found:
        yield found


def said(take: str, word: str = "circled", **more: Any) -> dict[str, Any]:
    return {"id": uuid.uuid4().hex, "clip": "bay", "take": take, "word": word, **more}


def test_a_verdict_from_the_page_is_in_the_ledger_and_in_the_bucket(
    client: httpx.Client, studio: Studio
) -> None:
    first, second = studio.take("bay-kelp", film=0), studio.take("bay-kelp", film=1, prompt="kelp at night")
    (clip,) = client.get("api/clips?q=kelp").json()["clips"]
    assert [take["number"] for take in clip["takes"]] == [1, 2]
    assert [take["is_current"] for take in clip["takes"]] == [False, True]
    assert ["new", "kelp at night"] in clip["takes"][1]["prompt"]
    asked = said(first.id, note="the light\u0000", seen=clip["seen"])
    answer = client.post("api/verdicts", json=asked)
    assert answer.status_code == 200, answer.text
    assert client.post("api/verdicts", json=asked).json()["verdict"] == answer.json()["verdict"], (
        "the same verdict, sent twice"
    )
    (given,) = verdicts_of(studio.ledger, ["bay-kelp"])["bay-kelp"]
    assert (given.verdict.take, given.verdict.way) == (first.id, "room")
    assert [take["is_current"] for take in answer.json()["clip"]["takes"]] == [True, False]
    assert client.get("api/clips?q=kelp").json()["clips"] == []
    assert len(client.get("api/clips?q=kelp&show=circled&mine=1").json()["clips"]) == 1
    assert client.get("api/clips?q=kelp&show=all&day=2001-01-01").json()["clips"] == []
    rejected = client.post("api/verdicts", json=said(second.id, "rejected", reasons=["hands"]))
    assert rejected.json()["clip"]["takes"][1]["verdict"]["reasons"] == ["hands"]


def test_verdicts_reach_the_bucket_when_the_room_closes(studio: Studio, place: Path) -> None:
    take = studio.take("bay-eel")
    with RoomServer(studio.house(place)) as room, httpx.Client(base_url=room.url, trust_env=False) as client:
        assert client.post("api/verdicts", json=said(take.id)).status_code == 200
    assert not [one for one in unstored(studio.ledger) if one.clip == "bay-eel"]
    assert len(list(studio.store.list_keys(f"{VERDICTS}bay-eel/"))) == 1


def test_a_health_probe_needs_no_login_and_shows_nothing(studio: Studio, place: Path) -> None:
    with (
        RoomServer(studio.house(place), user_header="X-Forwarded-User") as room,
        httpx.Client(base_url=room.url, headers={"Host": "10.1.2.3"}, trust_env=False) as prober,
    ):
        assert [prober.get(path).text for path in ("healthz", "readyz")] == ["ok\n", "ready\n"]
        assert prober.get("api/clips").status_code == 403


def test_changes_since_an_entry_are_listed(client: httpx.Client, studio: Studio) -> None:
    take = studio.take("bay-tern")
    entry = client.get("api/clips").json()["entry"]
    assert client.get(f"api/changes?after={entry}").json()["clips"] == []
    client.post("api/verdicts", json=said(take.id, "noted", note="a gull", second=0.5))
    told = client.get(f"api/changes?after={entry}").json()
    assert [clip["clip"] for clip in told["clips"]] == ["bay-tern"]
    assert told["clips"][0]["takes"][0]["notes"][0]["second"] == 0.5
    assert told["entry"] > entry


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"word": "loved"}, "no verdict"),
        ({"reasons": ["ugly"]}, "no reason"),
        ({"id": "../../x"}, "id"),
        ({"take": "nobody"}, "not in the room's ledger"),
        ({"note": "x" * 3000}, "note"),
        ({"cost": 1}, "cost"),
    ],
)
def test_an_invalid_verdict_is_refused(
    client: httpx.Client, studio: Studio, wrong: dict[str, Any], says: str
) -> None:
    take = studio.take("bay-crab")
    answer = client.post("api/verdicts", json=said(take.id) | wrong)
    assert answer.status_code in {400, 403}
    assert says in answer.json()["problem"]
    assert "bay-crab" not in verdicts_of(studio.ledger, ["bay-crab"])


def test_the_cost_of_a_clip_counts_every_purchase(client: httpx.Client, studio: Studio) -> None:
    take = studio.take("bay-toll")
    again = take.request.model_copy(update={"body": {"prompt": "another view of the toll"}})
    (bought,) = decide(studio.ledger, [again], Decision("toll-again"))
    assert bought.attempt is not None

    def cost() -> str:
        (clip,) = client.get("api/clips?q=toll").json()["clips"]
        return str(clip["cost"])

    assert cost() == "$0.80", "the clip has one video, and two purchases count as spent"
    queue.withdraw(studio.ledger, [bought.attempt.id], why="enough")
    assert cost() == "$0.40"


def test_media_are_the_videos_and_nothing_else(client: httpx.Client, studio: Studio) -> None:
    take = studio.take("bay-reef")
    found = client.get(f"media/videos/bay-reef/{take.id}.mp4", headers={"Range": "bytes=0-9"})
    assert (found.status_code, len(found.content)) == (206, 10)
    assert "immutable" in found.headers["cache-control"]
    for key in (
        "ledger.json",
        f"videos/bay-reef/{take.id}.json",
        "gallery/index.html",
        "../ledger.db",
        "verdicts/x/y.json",
    ):
        assert client.get(f"media/{key}").status_code == 404


def test_a_foreign_page_can_neither_read_nor_judge(client: httpx.Client, studio: Studio) -> None:
    take = studio.take("bay-seal")
    foreign = {"Origin": "http://127.0.0.1:9"}
    assert client.post("api/verdicts", json=said(take.id), headers=foreign).status_code == 403
    assert client.get("api/clips", headers={"Host": "evil.example"}).status_code == 403
    form = client.post("api/verdicts", content=b"{}", headers={"content-type": "text/plain"})
    assert form.status_code == 403
    page = client.get("/")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "script-src 'self'" in page.headers["content-security-policy"]


def test_a_proxy_names_people_and_the_teams_rules_give_their_rights(
    studio: Studio, place: Path, shop: FakeShop
) -> None:
    rules = ReviewRules(people={"mara": "buy", "tom": "judge"})
    take = studio.take("bay-ray")
    house = studio.house(place, shop=shop, rules=rules)
    with (
        RoomServer(house, user_header="X-Forwarded-User") as room,
        httpx.Client(base_url=room.url, trust_env=False) as client,
    ):

        def ask(who: str) -> dict[str, str]:
            return {"X-Forwarded-User": who}

        for path in ("", "api/clips", f"media/videos/bay-ray/{take.id}.mp4"):
            assert client.get(path).status_code == 403, "no user is named"
        assert client.post("api/verdicts", json=said(take.id)).status_code == 403
        both = [("X-Forwarded-User", "mara"), ("X-Forwarded-User", "eve")]
        assert client.get("api/clips", headers=both).status_code == 403, (
            "the browser may have set the first header itself"
        )
        assert client.get("api/clips", headers=ask("eve")).json()["me"] == {"name": "eve", "right": "look"}
        refused = client.post("api/verdicts", json=said(take.id), headers=ask("eve"))
        assert "eve may look here" in refused.json()["problem"]
        theirs = said(take.id) | {"by": "mara"}
        kept = client.post("api/verdicts", json=theirs, headers=ask("tom"))
        assert (kept.status_code, verdicts_of(studio.ledger, ["bay-ray"])) == (409, {})
        assert "mara gave this verdict, and tom uses this browser now" in kept.json()["problem"]
        ours = said(take.id) | {"by": "tom"}
        assert client.post("api/verdicts", json=ours, headers=ask("tom")).status_code == 200
        assert client.get("api/offer?clip=bay-ray", headers=ask("tom")).status_code == 403
        bought: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "clip": "bay-ray",
            "order_fingerprint": "0f" * 32,
            "at_most_micros": 400_000,
        }
        assert client.post("api/retakes", json=bought, headers=ask("tom")).status_code == 403
        before = dict(shop.bought)
        assert client.post("api/retakes", json=bought, headers=ask("mara")).status_code == 200
        assert shop.bought == {**before, bought["id"]: "bay-ray"}
    assert takes_of(studio.ledger, ["bay-ray"])["bay-ray"].takes[0].is_circled
    (given,) = verdicts_of(studio.ledger, ["bay-ray"])["bay-ray"]
    assert given.verdict.who == "tom"


def test_clips_of_a_renamed_series_have_its_present_title(client: httpx.Client, studio: Studio) -> None:
    studio.take("shore-rain", series="shore")
    with studio.ledger.transaction(who="person mara", run_id=None) as tx:
        record_rename(tx.connection, "shore", "bay")
    found = client.get("api/clips?series=shore").json()
    assert [clip["title"] for clip in found["clips"]] == ["The bay"]
    assert found["series"] == [["bay", "The bay"]]


def test_clips_that_are_decided_soon_come_first_with_their_deadline(
    client: httpx.Client, studio: Studio
) -> None:
    slow, soon = (Review(by="person", within_seconds=hours * 3_600) for hours in (48, 12))
    studio.take("ends-late", series="ends", review=slow)
    studio.take("ends-soon", series="ends", review=soon)
    studio.take("ends-never", series="ends", review=Review(by="person"))
    first, second = client.get("api/clips?show=ends&series=ends").json()["clips"]
    assert (first["clip"], second["clip"]) == ("ends-soon", "ends-late")
    assert second["review"]["decide_at"] - first["review"]["decide_at"] == pytest.approx(36 * 3_600, abs=600)
    assert {clip["review"]["otherwise"] for clip in (first, second)} == {"hold"}
    assert not any(take["is_current"] for take in first["takes"])
    client.post("api/verdicts", json=said(first["takes"][0]["id"]))
    (left,) = client.get("api/clips?show=ends&series=ends").json()["clips"]
    assert left["clip"] == "ends-late"


def test_the_yield_of_takes_by_series_and_by_model(client: httpx.Client, studio: Studio) -> None:
    chosen, other = studio.take("worth-gull", series="worth"), studio.take("worth-gull", series="worth")
    client.post("api/verdicts", json=said(chosen.id))
    client.post("api/verdicts", json=said(other.id, "rejected", reasons=["hands"]))
    (line,) = client.get("api/worth?series=worth").json()["lines"]
    assert line == {
        "name": "bytedance/seedance-2.0/text-to-video",
        "takes": 2,
        "circled": 1,
        "share": 0.5,
        "each": "$0.80",
        "why": "hands 1",
    }
    assert "worth" in [one["name"] for one in client.get("api/worth").json()["lines"]]


def test_the_yield_has_one_line_for_drafts_and_their_finishes(client: httpx.Client, studio: Studio) -> None:
    draft = studio.take("both-gull", series="both", finish=A_FINISH)
    client.post("api/verdicts", json=said(draft.id, finish_micros=2_000_000))
    whole, *models = client.get("api/worth?series=both").json()["lines"]
    assert (whole["name"], len(models)) == ("both", 2)
    queue.withdraw(
        studio.ledger,
        [one.id for one in takes_of(studio.ledger, ["both-gull"])["both-gull"].open],
        why="over",
    )


def test_booleans_of_a_request_are_shown_as_in_a_series() -> None:
    body = {"prompt": "a hill", "generate_audio": True, "loop": False, "duration": 5, "frame": "True"}
    attempt: Any = SimpleNamespace(request=SimpleNamespace(body=body))
    shown = {"generate_audio": "true", "loop": "false", "duration": "5", "frame": "True"}
    assert documents._plain(attempt) == shown
