"""Deliveries over real HTTP into a real bucket: bad bytes on purpose, and the result of each."""

import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from deliverykit import AS_MADE, Depot, empty_bucket
from hostile import File, serving
from makers import make_mp4, with_c2pa
from tiers import one_of_each
from verdictkit import a_verdict

from proof.clock import Clock
from resources.checks import Checks
from resources.ledger import deliveries, notes
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.outage import LedgerAwayError
from resources.ledger.schema import attempts
from resources.ledger.states import AttemptState as S
from resources.orders import ClipRequest
from resources.production import delivery
from resources.production.acceptance import Acceptor
from resources.production.delivery import Deliverer, DeliveryError
from resources.production.series_sheets import write_sheet
from resources.storage import remote
from resources.storage.embedded import EmbeddedS3
from resources.storage.layout import manifest_key, quarantined, video_key
from resources.storage.objects import ObjectStore
from resources.storage.transfer import transfer
from resources.video.inspector import VideoInspector


@pytest.fixture
def depot(s3: EmbeddedS3, sqlite_template: Path, tmp_path: Path, lent_inspector: None) -> Iterator[Depot]:
    store = empty_bucket(s3, ride_out_seconds=1)
    shutil.copyfile(sqlite_template, tmp_path / "ledger.db")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget()) as ledger, serving() as server:
        yield Depot(ledger, store, server, scratch)
    remote._connections.close()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Real clips, by their fault."""
    folder = tmp_path_factory.mktemp("films")
    made: dict[str, dict[str, Any]] = {
        "good": {},
        "large": {"width": 480, "height": 270},
        "long": {"seconds": 4},
        "black": {"black_seconds": 9},
        "frozen": {"paint": lambda _number, _height: 100},
        "silent": {"silent": True},
        "mute": {"audio": None},
        "turned": {"width": 180, "height": 320},
        "other": {"bars": 7},
    }
    return {name: make_mp4(folder / f"{name}.mp4", **how).read_bytes() for name, how in made.items()}


def test_a_clip_is_delivered_with_its_pictures_and_its_manifest_last(
    depot: Depot, films: dict[str, bytes]
) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    (done,) = depot.deliver(depot.finished("clip-a"))
    assert done.state is S.DELIVERED
    manifest = depot.manifest(done)
    assert {c.name: c.outcome for c in manifest.checks} == {
        "whole": "passed",
        "size": "passed",
        "duration": "passed",
        "frame_rate": "skipped",
        "codecs": "passed",
        "audio": "passed",
        "coverage": "passed",
        "black": "passed",
        "frozen": "passed",
        "silence": "passed",
        "model": "skipped",
        "nsfw": "skipped",
        "credentials": "skipped",
        "duplicate": "passed",
    }
    assert manifest.poster is not None
    assert manifest.strip is not None
    assert (manifest.look or "")[:4] != ""
    assert manifest.disclosure.ai_system_used == "WaveSpeedAI openai/sora-2/text-to-video"
    assert manifest.object.sha256 == hashlib.sha256(films["good"]).hexdigest()
    assert done.delivery is not None
    assert done.delivery["poster_uri"] == manifest.poster.uri
    assert depot.audit() == {manifest_key("clip-a", done.id): "videos"}


def test_content_credentials_are_kept_byte_for_byte(depot: Depot, tmp_path: Path) -> None:
    signed = with_c2pa(make_mp4(tmp_path / "c.mp4")).read_bytes()
    depot.server.files["/clip.mp4"] = File(data=signed)
    (done,) = depot.deliver(depot.finished("clip-a"))
    assert depot.manifest(done).disclosure.c2pa
    assert depot.store.get_bytes(video_key("clip-a", done.id)) == signed


@pytest.mark.parametrize("tenth", one_of_each(range(10), kind=lambda tenth: min(tenth, 1)))
def test_an_output_that_is_cut_once_is_delivered_whole(
    depot: Depot, films: dict[str, bytes], tenth: int
) -> None:
    data = films["good"]
    depot.server.files["/clip.mp4"] = File(data=data, cuts=[len(data) * tenth // 10])
    (done,) = depot.deliver(depot.finished("clip-a"))
    assert done.state is S.DELIVERED
    depot.audit()


def _changes(file: File) -> None:
    file.data, file.etag = file.data + b"\0\0\0\x08free", '"two"'


def test_an_output_that_changes_between_two_parts_is_fetched_anew(
    depot: Depot, films: dict[str, bytes]
) -> None:
    data = films["good"]
    file = depot.server.files["/clip.mp4"] = File(data=data, cuts=[len(data) // 2], after_cut=_changes)
    (done,) = depot.deliver(depot.finished("clip-a"))
    assert depot.manifest(done).object.sha256 == hashlib.sha256(file.data).hexdigest()
    depot.audit()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"length": 10_000_000}, "ended too early|cut|answers 416|changed"),
        ({"data": b"<html>busy</html>", "content_type": "text/html"}, "text/html was sent"),
        ({"data": b""}, "the file is empty"),
        ({"length": 2_147_483_648}, "at most 50,000,000 are fetched"),
        ({"status": 500}, "answers 500"),
    ],
    ids=["wrong length", "a page", "zero bytes", "2 GB", "500"],
)
def test_an_output_that_cannot_be_fetched_stays_paid_and_is_tried_again(
    depot: Depot, films: dict[str, bytes], how: dict[str, Any], says: str
) -> None:
    depot.server.files["/clip.mp4"] = File(**{"data": films["good"], **how})
    attempt = depot.finished("clip-a")
    with pytest.raises(DeliveryError, match=says) as caught:
        depot.deliver(attempt)
    assert "canary" not in str(caught.value)
    waiting = depot.read(attempt)
    assert (waiting.state, waiting.delivery_owner) == (S.SUCCEEDED, None)
    assert waiting.reason is not None
    assert "canary" not in waiting.reason
    assert depot.audit() == {}
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    (done,) = depot.deliver(attempt)
    assert done.state is S.DELIVERED


def test_an_output_whose_address_is_refused_is_fetched_from_a_fresh_one(
    depot: Depot, films: dict[str, bytes]
) -> None:
    depot.server.files["/clip.mp4"] = File(status=403)
    depot.server.files["/fresh.mp4"] = File(data=films["good"])
    depot.provider.address = depot.server.url("/fresh.mp4")
    (done,) = depot.deliver(depot.finished("clip-a"))
    assert (done.state, depot.provider.polls) == (S.DELIVERED, 1)
    depot.audit()


@pytest.mark.parametrize("status", [404, 410])
def test_an_output_whose_job_is_gone_too_is_lost_and_its_money_stays(depot: Depot, status: int) -> None:
    depot.server.files["/clip.mp4"] = File(status=status)
    attempt, now = depot.finished("clip-a"), time.time()
    for minutes in range(3):
        depot.ledger.clock = Clock(now + 60 * minutes)
        with pytest.raises(DeliveryError, match="seen over minutes"):
            depot.deliver(attempt)
        assert depot.read(attempt).state is S.SUCCEEDED
    depot.ledger.clock = lambda: now + 181
    (done,) = depot.deliver(attempt)
    assert done.state is S.LOST
    assert done.cost_micros == 400_000
    assert depot.audit() == {}


@pytest.mark.parametrize("status", [403, 404, 410])
def test_an_output_that_returns_is_not_lost(depot: Depot, films: dict[str, bytes], status: int) -> None:
    depot.server.files["/clip.mp4"] = File(status=status)
    attempt = depot.finished("clip-a")
    with pytest.raises(DeliveryError, match="seen over minutes"):
        depot.deliver(attempt)
    assert (depot.read(attempt).confirming or "").startswith("wavespeed has said once")
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    (done,) = depot.deliver(attempt)
    assert (done.state, done.confirming) == (S.DELIVERED, None)


@pytest.mark.parametrize("said", [True, False], ids=["it says for how long", "it does not say"])
def test_a_dead_address_is_tried_until_the_outputs_lifetime_ends(depot: Depot, said: bool) -> None:
    depot.server.files["/clip.mp4"] = File(status=404)
    depot.provider.address = depot.server.url("/clip.mp4")
    attempt, now = depot.finished("clip-a"), time.time()
    kept_until = attempt.kept_until
    assert attempt.copy_deadline == kept_until
    if not said:
        with depot.ledger.write() as connection:
            connection.execute(sa.update(attempts).values(copy_deadline=None))
        attempt = depot.read(attempt)
        assert attempt.kept_until == pytest.approx(kept_until), "the lifetime that the provider states"
    for days in range(7):
        depot.ledger.clock = Clock(now + 86_400 * days)
        with pytest.raises(DeliveryError, match="tried again later"):
            depot.deliver(attempt)
    for late in (1, 100):
        depot.ledger.clock = Clock(kept_until + late)
        with pytest.raises(DeliveryError, match="seen over minutes"):
            depot.deliver(attempt)
    depot.ledger.clock = lambda: kept_until + 200
    assert depot.deliver(attempt)[0].state is S.LOST


@pytest.mark.parametrize(
    "url", ["https://169.254.169.254/latest/meta-data", "https://10.0.0.1/clip.mp4", "http://example.com/x"]
)
def test_an_address_that_is_not_on_the_internet_is_never_requested(depot: Depot, url: str) -> None:
    attempt = depot.finished("clip-a", url=url)
    with pytest.raises(DeliveryError, match=r"not on the internet|plain http"):
        depot.deliver(attempt)
    assert depot.audit() == {}


@pytest.mark.parametrize(
    ("film", "check", "says"),
    [
        ("large", "size", "the picture is 480x270, asked for was 320x180"),
        ("turned", "size", "the picture is 180x320"),
        ("long", "duration", "it lasts 4.00 s, asked for were 2 s"),
        ("black", "black", "the picture is black for 2.0 s"),
        ("frozen", "frozen", "the picture stands still for 2.0 s"),
        ("silent", "silence", "it is silent for 2.0 s"),
        ("mute", "audio", "there is no sound"),
    ],
)
def test_a_clip_that_fails_a_check_is_quarantined_with_its_pictures(
    depot: Depot, films: dict[str, bytes], film: str, check: str, says: str
) -> None:
    depot.server.files["/clip.mp4"] = File(data=films[film])
    (done,) = depot.deliver(depot.finished("clip-a"))
    assert done.state is S.QUARANTINED
    assert says in (done.reason or "")
    manifest = depot.manifest(done)
    assert [c.name for c in manifest.checks if c.outcome == "failed"] == [check]
    assert manifest.poster is not None
    assert depot.audit() == {quarantined(manifest_key("clip-a", done.id)): "quarantine"}
    assert len(depot.server.files["/clip.mp4"].seen) == 1, "the failed output is not fetched twice"


@pytest.mark.parametrize("tenth", [1, 5, 9])
def test_a_file_that_was_cut_before_it_was_sent_is_quarantined(
    depot: Depot, films: dict[str, bytes], tenth: int
) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["good"][: len(films["good"]) * tenth // 10])
    (done,) = depot.deliver(depot.finished("clip-a"))
    assert done.state is S.QUARANTINED
    assert next(c.name for c in depot.manifest(done).checks if c.outcome == "failed") == "whole"
    depot.audit()


@pytest.mark.parametrize(
    ("level", "state"), [("off", S.DELIVERED), ("warn", S.DELIVERED), ("fail", S.QUARANTINED)]
)
def test_the_series_decides_the_effect_of_a_check(
    depot: Depot, films: dict[str, bytes], level: Any, state: S
) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["black"])
    (done,) = depot.deliver(depot.finished("clip-a", checks=Checks(black=level)))
    assert done.state is state
    outcome = {"off": "skipped", "warn": "warned", "fail": "failed"}[level]
    assert (done.delivery or {})["checks"]["black"] == outcome


@pytest.mark.parametrize(
    ("flags", "outcome", "state"),
    [
        ((True,), "failed", S.QUARANTINED),
        ((False,), "passed", S.DELIVERED),
        ((None,), "skipped", S.DELIVERED),
    ],
)
def test_the_providers_flag_quarantines_a_clip(
    depot: Depot, films: dict[str, bytes], flags: tuple[bool | None, ...], outcome: str, state: S
) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    (done,) = depot.deliver(depot.finished("clip-a", nsfw=flags))
    assert done.state is state
    assert (done.delivery or {})["checks"]["nsfw"] == outcome


# Clips that look the same


def test_a_clip_that_looks_like_an_earlier_one_is_noted(depot: Depot, films: dict[str, bytes]) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    depot.server.files["/other.mp4"] = File(data=films["other"])
    depot.deliver(depot.finished("clip-a"))
    (other,) = depot.deliver(depot.finished("clip-b", url=depot.server.url("/other.mp4")))
    (twin,) = depot.deliver(depot.finished("clip-c"))
    (elsewhere,) = depot.deliver(depot.finished("clip-d", series="harbor"))
    assert (other.delivery or {})["warnings"] == []
    assert (twin.delivery or {})["warnings"] == ["it looks like clip-a, an earlier clip of the series"]
    assert (elsewhere.delivery or {})["warnings"] == [], "only clips of its own series are compared"


def test_the_ledgers_order_decides_which_clip_is_the_earlier(depot: Depot, films: dict[str, bytes]) -> None:
    """The later clip may be delivered first: it is in the bucket already, and the earlier one is no copy."""
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    checks = Checks(duplicate="fail")
    first = depot.finished("clip-a", checks=checks)
    second = depot.finished("clip-b", checks=checks)
    (second,) = depot.deliver(second)
    (first,) = depot.deliver(first)
    assert (second.state, first.state) == (S.DELIVERED, S.DELIVERED)
    assert (first.delivery or {})["warnings"] == [
        "clip-b, a later clip of the series that was delivered first, looks like it"
    ]
    (third,) = depot.deliver(depot.finished("clip-c", checks=checks))
    assert third.state is S.QUARANTINED
    assert "looks like clip-b, an earlier clip" in (third.reason or "")


def test_two_clips_that_are_checked_at_the_same_moment_see_each_other(
    depot: Depot, films: dict[str, bytes]
) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    both = depot.deliver(depot.finished("clip-a"), depot.finished("clip-b"))
    assert sum(len((a.delivery or {})["warnings"]) for a in both) == 1


def test_a_delivery_continues_after_an_outage_of_the_ledgers_database(
    depot: Depot, films: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    broken: list[str] = []

    def breaks_once(where: Any, name: str) -> None:
        asks = getattr(where, name)

        def ask(*args: Any, **kwargs: Any) -> Any:
            if name not in broken:
                broken.append(name)
                raise LedgerAwayError("its database went away")
            return asks(*args, **kwargs)

        monkeypatch.setattr(where, name, ask)

    breaks_once(notes, "note_look")
    breaks_once(notes, "nsfw")
    breaks_once(Ledger, "current")
    (done,) = depot.deliver(depot.finished("clip-a"))
    assert done.state is S.DELIVERED
    assert sorted(broken) == ["current", "note_look", "nsfw"]


# deaths on the way


class Killed(BaseException):
    """Stands in for a SIGKILL at a point: nothing after it happens."""


@pytest.mark.parametrize("after", ["video", "poster", "manifest"])
def test_a_second_worker_finishes_what_a_dead_one_has_begun_to_store(
    depot: Depot, films: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    attempt = depot.finished("clip-a")
    put = ObjectStore.put_bytes
    point = {"video": "webp", "poster": "strip.webp", "manifest": "current.json"}[after]

    def dying(store: ObjectStore, key: str, data: bytes, **how: Any) -> Any:
        if key.endswith(point):
            raise Killed
        return put(store, key, data, **how)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "put_bytes", dying)
        patch.setattr(deliveries, "release", lambda *_, **__: None)
        with pytest.raises(Killed):
            depot.deliver(attempt)
    depot.expire_claims()
    if depot.read(attempt).state is S.SUCCEEDED:
        depot.deliver(attempt)
    assert depot.read(attempt).state is S.DELIVERED
    assert len(depot.audit()) == 1


@pytest.mark.parametrize("film", ["good", "black"])
@pytest.mark.parametrize("provider", ["has it", "gone"])
def test_a_restored_ledger_finds_its_delivered_files(
    depot: Depot, films: dict[str, bytes], film: str, provider: str
) -> None:
    """A copy from before the claim was restored, so the delivery looks like the first one."""
    depot.server.files["/clip.mp4"] = File(data=films[film])
    attempt = depot.finished("clip-a")
    (done,) = depot.deliver(attempt)
    stored = depot.manifest(done)
    with depot.ledger.write() as connection:
        values = {
            "state": "succeeded",
            "delivery": None,
            "delivered_at": None,
            "reason": None,
            "reason_kind": None,
        }
        connection.execute(sa.update(attempts).values(delivery_owner=None, delivery_until=None, **values))
    if provider == "gone":
        depot.server.files["/clip.mp4"] = File(status=404)
    (again,) = depot.deliver(attempt)
    assert (again.state, depot.manifest(again)) == (done.state, stored)
    assert len(depot.audit()) == 1


def keys_read(depot: Depot, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that are read from the bucket after this call."""
    read: list[str] = []
    get_bytes = depot.store.get_bytes

    def noted(key: str, **limits: Any) -> bytes | None:
        read.append(key)
        return get_bytes(key, **limits)

    monkeypatch.setattr(depot.store, "get_bytes", noted)
    return read


def test_a_first_delivery_does_not_look_for_an_earlier_one(
    depot: Depot, films: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = keys_read(depot, monkeypatch)
    depot.server.files["/clip.mp4"] = File(status=503)
    attempt = depot.finished("clip-a")
    with pytest.raises(DeliveryError):
        depot.deliver(attempt)
    assert read == []
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    depot.deliver(attempt)
    assert read == [manifest_key("clip-a", attempt.id), quarantined(manifest_key("clip-a", attempt.id))]


@pytest.mark.parametrize("provider", ["gone", "sends other bytes"])
def test_a_stored_video_is_enough_when_the_provider_no_longer_has_it(
    depot: Depot, films: dict[str, bytes], provider: str
) -> None:
    """A worker died between storing the video and its manifest, and the provider's output has changed since."""
    attempt = depot.finished("clip-a")
    digest = hashlib.sha256(films["good"]).hexdigest()
    path = depot.scratch / "before.mp4"
    path.write_bytes(films["good"])
    depot.store.put_file(video_key("clip-a", attempt.id), path, sha256=digest, content_type="video/mp4")
    path.unlink()
    depot.server.files["/clip.mp4"] = (
        File(status=404) if provider == "gone" else File(data=films["good"] + b"\0\0\0\x08free")
    )
    (done,) = depot.deliver(attempt)
    assert (done.state, depot.manifest(done).object.sha256) == (S.DELIVERED, digest)
    depot.audit()


def test_a_slow_delivery_keeps_its_claim(
    depot: Depot, films: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = 0.2
    monkeypatch.setattr(deliveries, "LEASE_SECONDS", lease)
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    attempt, now = depot.finished("clip-a"), time.time()
    taken: list[bool] = []
    inspect = Deliverer._inspect
    depot.ledger.clock = lambda: now

    def claimed_until() -> float:
        return depot.read(attempt).delivery_until or 0

    def slowly(deliverer: Deliverer, path: Path, request: ClipRequest) -> Any:
        nonlocal now
        for _ in range(4):
            now += 0.9 * lease
            give_up = time.monotonic() + 60
            while claimed_until() < now + lease and time.monotonic() < give_up:
                time.sleep(0.01)
            taken.append(deliveries.claim(depot.ledger, attempt.id, token="another") is not None)
        return inspect(deliverer, path, request)

    monkeypatch.setattr(Deliverer, "_inspect", slowly)
    (done,) = depot.deliver(attempt)
    assert (done.state, any(taken)) == (S.DELIVERED, False)


def test_a_delivery_that_lost_its_claim_stops(
    depot: Depot, films: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop that slept for an hour finds that another worker has taken over."""
    monkeypatch.setattr(deliveries, "LEASE_SECONDS", 0.06)
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    attempt = depot.finished("clip-a")

    def interrupted(*arguments: Any, **how: Any) -> Any:
        with depot.ledger.write() as connection:
            import sqlalchemy as sa

            from resources.ledger.schema import attempts

            connection.execute(sa.update(attempts).values(delivery_owner="another"))
        give_up = time.monotonic() + 60
        while not how["stop"].is_set() and time.monotonic() < give_up:
            time.sleep(0.01)
        return transfer(*arguments, **how)

    monkeypatch.setattr("resources.production.output.transfer", interrupted)
    with pytest.raises(DeliveryError, match="interrupted"):
        depot.deliver(attempt)
    assert depot.read(attempt).delivery_owner == "another", "the other worker's claim stays"


# acceptance by a person


def acceptor(depot: Depot) -> Acceptor:
    return Acceptor(depot.ledger, depot.store, depot.scratch)


def test_an_accepted_clip_leaves_quarantine_and_is_reported_to_dagster_again(
    depot: Depot, films: dict[str, bytes]
) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["black"])
    (apart,) = depot.deliver(depot.finished("clip-a"))
    deliveries.mark_reported(depot.ledger, [apart.id], "run-1")
    assert [a.id for a in deliveries.in_quarantine(depot.ledger)] == [apart.id]
    accepted = acceptor(depot).accept(apart, a_verdict(apart, note="a night"))
    assert (accepted.state, accepted.reason, accepted.reported_run_id) == (S.DELIVERED, None, None)
    assert depot.ledger.current(["clip-a"])["clip-a"].id == apart.id
    manifest = depot.manifest(accepted)
    assert manifest.accepted is not None
    assert (manifest.accepted.by, manifest.accepted.why) == ("mira", "a night")
    assert manifest.failures, "the check's result stays"
    assert (accepted.delivery or {})["accepted"] == "by mira: a night"
    assert (apart.delivery or {})["accepted"] is None
    assert depot.store.get_bytes(video_key("clip-a", apart.id)) == films["black"]
    assert sorted(depot.audit().values()) == ["quarantine", "videos"]
    whys = [str(entry["why"]) for entry in depot.ledger.history(apart.id)]
    assert whys[-2:] == ["accepted by mira: a night", "circled by mira: a night"]
    assert deliveries.in_quarantine(depot.ledger) == []
    again = acceptor(depot).accept(apart, a_verdict(apart))
    assert again.version == accepted.version, "a second acceptance changes nothing"


def test_a_file_that_was_damaged_in_quarantine_is_not_accepted(depot: Depot, films: dict[str, bytes]) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["black"])
    (apart,) = depot.deliver(depot.finished("clip-a"))
    depot.store.put_bytes(
        quarantined(video_key("clip-a", apart.id)), b"other", content_type="video/mp4", overwrite=True
    )
    with pytest.raises(Exception, match="no longer what was stored"):
        acceptor(depot).accept(apart, a_verdict(apart))
    assert depot.read(apart).state is S.QUARANTINED


def test_an_older_take_that_is_accepted_is_circled_and_so_replaces_a_newer_one(
    depot: Depot, films: dict[str, bytes]
) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["black"])
    (old,) = depot.deliver(depot.finished("clip-a"))
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    (new,) = depot.deliver(depot.finished("clip-a", decision="tuesday"))
    assert deliveries.in_quarantine(depot.ledger) == []
    assert [a.id for a in deliveries.in_quarantine(depot.ledger, clip="clip-a")] == [old.id]
    acceptor(depot).accept(old, a_verdict(old))
    assert depot.ledger.current(["clip-a"])["clip-a"].id == old.id
    assert new.state is S.DELIVERED


def test_at_most_two_clips_are_decoded_at_once(
    depot: Depot, films: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[VideoInspector] = []
    build = VideoInspector.__init__

    def counted(inspector: VideoInspector, **how: Any) -> None:
        made.append(inspector)
        build(inspector, **how)

    monkeypatch.setattr(VideoInspector, "__init__", counted)
    monkeypatch.setattr(delivery, "VideoInspector", VideoInspector)
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    depot.deliver(*(depot.finished(f"clip-{n}", expected=AS_MADE) for n in "abcd"))
    assert len(made) == 1


# Contact sheets


def test_a_sheet_is_drawn_from_local_posters(
    depot: Depot, films: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = keys_read(depot, monkeypatch)
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    finished = [depot.finished(f"clip-{n}", expected=AS_MADE) for n in "ab"]
    (sheet,) = depot.deliver_and_write_sheets(*finished)
    assert sheet.clips == ("clip-a", "clip-b")
    assert not [key for key in read if key.endswith(".webp")]


def test_a_series_and_day_has_a_sheet_with_failed_clips_framed_in_red(
    depot: Depot, films: dict[str, bytes], lookers: VideoInspector
) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    depot.server.files["/tall.mp4"] = File(data=films["turned"])
    depot.deliver(depot.finished("clip-a"), depot.finished("clip-b", series="harbor"))
    depot.deliver(depot.finished("clip-c", url=depot.server.url("/tall.mp4")))
    args = depot.ledger, depot.store, lookers
    sheet = write_sheet(*args, series="city", day=depot.ledger.overview()[0].counted_on, posters={})
    assert write_sheet(*args, series="city", day="2001-01-01", posters={}) is None
    assert sheet is not None
    assert (sheet.clips, sheet.failed, sheet.missing) == (("clip-a", "clip-c"), ("clip-c",), ())
    key = sheet.uri.removeprefix(f"s3://{depot.store.bucket}/")
    assert depot.store.get_bytes(key) == sheet.picture
    picture = decoded(sheet.picture)
    assert is_red(picture, 252 + 1, 1), "the field of the failed clip has a red frame"
    assert not is_red(picture, 1, 1)


def test_the_deliverer_makes_the_sheets_of_its_deliveries(depot: Depot, films: dict[str, bytes]) -> None:
    depot.server.files["/clip.mp4"] = File(data=films["good"])
    attempts = [depot.finished("clip-a"), depot.finished("clip-b", series="harbor")]
    sheets = depot.deliver_and_write_sheets(*attempts)
    assert [(s.series, s.clips) for s in sheets] == [("city", ("clip-a",)), ("harbor", ("clip-b",))]
    assert len(list(depot.store.list_keys("sheets/"))) == 2


def test_a_poster_that_is_no_picture_leaves_its_field_empty(lookers: VideoInspector) -> None:
    picture = decoded(lookers.compose([b"RIFF....WEBPnonsense"], [False]))
    assert (picture.width, picture.height) == (252, 148)


def decoded(data: bytes) -> Any:
    import io

    import av

    with av.open(io.BytesIO(data), "r") as container:
        return next(container.decode(video=0)).reformat(format="rgb24")


def is_red(picture: Any, x: int, y: int) -> bool:
    plane = picture.planes[0]
    red, green, blue = bytes(plane)[y * plane.line_size + 3 * x :][:3]
    return bool(red > 150 and green < 80 and blue < 80)
