"""Every endpoint of the catalogue makes a clip: from YAML over ledger, engine and sandbox into the bucket.

The sandbox refuses whatever the providers' pages do not allow, by its own table; the file is compared with the order. `make test`
makes one text-to-video and one image-to-video clip at each provider; tests/catalogue checks the request and the price of every endpoint.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from deliverykit import empty_bucket
from pictures import mp4, png, put
from pydantic import SecretStr
from tiers import one_of_each

from resources.catalogue import Catalogue, DataFolder
from resources.characters.maker import Maker
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.money import show_usd
from resources.orders import ClipRequest, Expected
from resources.production import batch, poll_times
from resources.production.account import Account
from resources.production.batch import Follower, Stage
from resources.production.delivery import Deliverer
from resources.production.engine import Engine
from resources.production.quotes import quoted
from resources.production.request_files import RequestFiles
from resources.providers.accounts import AccountSettings, build_provider
from resources.providers.registry import spec_of
from resources.sandbox import RunningSandbox, SandboxSettings, media, running_sandbox
from resources.series import load_series
from resources.storage.download import DownloadPolicy
from resources.storage.embedded import EmbeddedS3
from resources.storage.manifest import Manifest
from resources.storage.objects import ObjectStore

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lent_inspector")]

T = TypeVar("T")

MODELS = Path(__file__).parents[2] / "data" / "models"
CATALOGUE = Catalogue.load(MODELS)

# the lines of a series, with the same names for every endpoint; the resulting frame and charge;
# and a provider's name before a page that another provider has too
CLIPS: dict[str, tuple[dict[str, Any], tuple[int, int], str]] = {
    "openai/sora-2/text-to-video": ({"aspect_ratio": "16:9", "duration": 4}, (1280, 720), "$0.40"),
    "openai/sora-2-pro/text-to-video": (
        {"resolution": "1024p", "aspect_ratio": "9:16"},
        (1024, 1792),
        "$2.00",
    ),
    "openai/sora-2/text-to-video-pro": ({"size": "720*1280"}, (720, 1280), "$1.20"),
    "openai/sora-2/image-to-video": ({"image": "images/tall.png"}, (720, 1280), "$0.40"),
    "openai/sora-2/image-to-video-pro": (
        {"image": "images/wide.png", "resolution": "720p"},
        (1280, 720),
        "$1.20",
    ),
    "openai/sora-2-pro/image-to-video": ({"image": "images/wide.png"}, (1280, 720), "$1.20"),
    "openai/sora-2": ({"aspect_ratio": "9:16"}, (720, 1280), "$0.40"),
    "bytedance/seedance-2.0/text-to-video": ({"duration": 4, "resolution": "720p"}, (1280, 720), "$0.96"),
    "bytedance/seedance-2.0/image-to-video": (
        {"duration": 4, "image": "images/tall.png"},
        (720, 1280),
        "$0.96",
    ),
    "openai/sora-2-t2v": ({"aspect_ratio": "9:16"}, (720, 1280), "$0.40"),
    "openai/sora-2-i2v": ({"image": "images/wide.png"}, (1280, 720), "$0.40"),
    "openai/sora-2-pro-t2v": ({"resolution": "1024p"}, (1792, 1024), "$2.00"),
    "openai/sora-2-pro-i2v": ({"image": "images/wide.png", "resolution": "720p"}, (1280, 720), "$1.20"),
    "bytedance/seedance-2-0": ({"duration": 4, "seed": 7}, (1280, 720), "$0.96"),
    "bytedance/seedance-2-5": ({"duration": 4, "aspect_ratio": "9:16"}, (720, 1280), "$1.16"),
    "google/veo-3.1-t2v": ({"duration": 4, "aspect_ratio": "9:16"}, (1080, 1920), "$1.60"),
    "klingai/video-v3-standard-text-to-video": (
        {"duration": 3, "aspect_ratio": "9:16"},
        (720, 1280),
        "$0.336",
    ),
    "minimax/hailuo-2.3": ({"duration": 6}, (1366, 768), "$0.282"),
    "alibaba/wan-2-7-t2v": ({"duration": 5, "aspect_ratio": "9:16"}, (1080, 1920), "$0.50"),
    "bytedance/seedance-2.5/text-to-video-turbo": (
        {"duration": 4, "aspect_ratio": "9:16"},
        (720, 1280),
        "$1.00",
    ),
    "vidu/q3/text-to-video": ({"duration": 1}, (1280, 720), "$0.15"),
    "minimax/hailuo-2.3/t2v-standard": ({"duration": 6}, (1366, 768), "$0.282"),
    "alibaba/wan-2.5/text-to-video": ({"duration": 5}, (1280, 720), "$0.50"),
    "google/veo3.1/text-to-video": ({"duration": 4, "aspect_ratio": "9:16"}, (720, 1280), "$1.60"),
    "kwaivgi/kling-v3.0-std/text-to-video": ({"duration": 3, "aspect_ratio": "9:16"}, (720, 1280), "$0.252"),
    "fal:bytedance/seedance-2.0/text-to-video": ({"duration": 4}, (1280, 720), "$1.2136"),
    "fal:bytedance/seedance-2.0/image-to-video": (
        {"duration": 4, "image": "images/tall.png"},
        (720, 1280),
        "$1.2096",
    ),
    "fal:bytedance/seedance-2.5/text-to-video": ({"duration": 4, "seed": 7}, (1280, 720), "$1.892"),
    "fal:bytedance/seedance-2.5/image-to-video": (
        {"duration": 4, "image": "images/tall.png"},
        (720, 1280),
        "$1.892",
    ),
    "fal:fal-ai/kling-video/v3/standard/text-to-video": (
        {"duration": 3, "generate_audio": False, "aspect_ratio": "9:16"},
        (720, 1280),
        "$0.252",
    ),
    "fal:fal-ai/veo3.1": ({"duration": 4, "resolution": "1080p"}, (1920, 1080), "$1.60"),
    "fal:wan/v2.6/text-to-video": ({"aspect_ratio": "1:1"}, (960, 960), "$0.50"),
    "fal:fal-ai/minimax/hailuo-2.3/standard/text-to-video": ({"duration": 6}, (1366, 768), "$0.28"),
    "fal:fal-ai/minimax/hailuo-2.3/standard/image-to-video": (
        {"image": "images/wide.png"},
        (1366, 768),
        "$0.28",
    ),
    "bytedance/seedance-2.0": (
        {"duration": 4, "aspect_ratio": "9:16", "image": "images/tall.png"},
        (720, 1280),
        "$1.2136",
    ),
    "kwaivgi/kling-v3-video": ({"duration": 3, "mode": "standard"}, (1280, 720), "$0.51"),
}


def seller(name: str) -> tuple[str | None, str]:
    """Provider and page of a name in `CLIPS`."""
    provider, colon, page = name.partition(":")
    return (provider, page) if colon else (None, name)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with pytest.MonkeyPatch.context() as patch, running_sandbox(SandboxSettings(job_seconds=0)) as running:
        # clips of one colour, which is encoded once for each size
        patch.setattr(media, "PALETTES", media.PALETTES[:1])
        yield running


@pytest.fixture(scope="module")
def store(s3: EmbeddedS3) -> ObjectStore:
    return empty_bucket(s3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    put(folder, "images/tall.png", png(720, 1280))
    put(folder, "images/wide.png", png(1280, 720))
    put(folder, "characters/joe.mp4", mp4(seconds=3))
    (folder / "models").symlink_to(MODELS)
    return folder


@pytest.fixture
def ledger(sqlite_template: Path, tmp_path: Path) -> Iterator[Ledger]:
    path = tmp_path / "ledger.db"
    path.write_bytes(sqlite_template.read_bytes())
    with Ledger(f"sqlite:///{path}", budget=Budget()) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll_times, "SCOUT_SECONDS", 0.1)
    monkeypatch.setattr(batch, "LOOK_SECONDS", 0.2)


def rendered(data: Path, page: str, parameters: dict[str, Any], *, at: str | None = None) -> ClipRequest:
    """The request of a series with one clip, through the real declarations."""
    name = page.replace("/", "-").replace(".", "")
    provider = f"provider: {at}\n" if at else ""
    lines = [f"{key}: {json.dumps(value)}" for key, value in parameters.items()]
    put(
        data,
        "series/one.yaml",
        f"name: {name}\nendpoint: {page}\n{provider}allow_retired: true\nprompt: A boat on calm water.\n"
        f"parameters: {{{', '.join(lines)}}}\nclips: [{{name: hero}}]\n".encode(),
    )
    declarations = load_series(data, CATALOGUE)
    assert declarations.problems == []
    return declarations.render(declarations.series[name].clips()[0])


def with_engine(
    sandbox: RunningSandbox,
    ledger: Ledger,
    data: Path,
    name: str,
    work: Callable[[Engine], Awaitable[T]],
    *,
    store: ObjectStore | None = None,
) -> T:
    async def carried() -> T:
        url = sandbox.url + spec_of(name).sandbox_path
        place = AccountSettings(name=name, provider=name, base_url=url, api_key=SecretStr("sandbox"))
        account = Account(build_provider(place), output_key=place.output_key)
        engine = Engine(ledger, {name: account}, files=RequestFiles(DataFolder(data), store))
        try:
            return await work(engine)
        finally:
            await engine.aclose()

    return asyncio.run(carried())


def produce(
    sandbox: RunningSandbox, ledger: Ledger, store: ObjectStore, data: Path, request: ClipRequest
) -> Attempt:
    async def work(engine: Engine) -> None:
        policy = DownloadPolicy(allowed_origins=frozenset({sandbox.url}))
        providers = {name: account.provider for name, account in engine.accounts.items()}
        priced = await quoted([request], providers)
        with Deliverer(engine, store, policy=policy, scratch=data) as deliverer:
            follower = Follower(
                engine, deliverer, until=Stage.DELIVERED, report=lambda _: None, run_id="run-1"
            )
            followed = await follower.follow(decide(ledger, priced, Decision("monday")))
        assert followed.failed == {}

    with_engine(sandbox, ledger, data, request.provider, work)
    (attempt,) = ledger.latest([request.clip]).values()
    return attempt


def test_every_endpoint_of_the_catalogue_that_makes_clips_is_in_this_list() -> None:
    listed = [CATALOGUE.get(page, provider) for provider, page in map(seller, CLIPS)]
    # an endpoint that finishes drafts is bought for a circled draft only: tests/series/test_drafts.py, tests/sandbox/test_sandbox_fal.py
    made = {id(one) for one in CATALOGUE if one.makes_video and one.draft_id is None}
    assert made == set(map(id, listed))


@pytest.mark.parametrize("name", CLIPS)
def test_every_endpoint_is_ordered_at_its_price_and_in_its_frame(data: Path, name: str) -> None:
    parameters, frame, price = CLIPS[name]
    provider, page = seller(name)
    request = rendered(data, page, parameters, at=provider)
    expected = request.expected
    # some prices come from the provider's quote
    assert request.price_micros is None or show_usd(request.price_micros) == price
    assert (expected.width or frame[0], expected.height or frame[1]) == frame


def kind(name: str) -> tuple[str, bool]:
    """The key of equivalent endpoints: the provider, and whether the order has a picture."""
    provider, page = seller(name)
    return CATALOGUE.get(page, provider).provider, "image" in CLIPS[name][0]


@pytest.mark.parametrize("name", one_of_each(CLIPS, kind))
def test_every_endpoint_makes_a_clip(
    sandbox: RunningSandbox, ledger: Ledger, store: ObjectStore, data: Path, name: str
) -> None:
    parameters, frame, price = CLIPS[name]
    provider, page = seller(name)
    request = rendered(data, page, parameters, at=provider)
    attempt = produce(sandbox, ledger, store, data, request)
    assert attempt.state is AttemptState.DELIVERED
    assert show_usd(attempt.quoted_micros) == price
    assert attempt.delivery is not None
    head = store.head(attempt.delivery["key"])
    assert head is not None
    assert head.size == attempt.delivery["size"]
    books = httpx.get(f"{sandbox.url}/admin/books").json()["jobs"]
    (job,) = [job for job in books if job["id"] == attempt.job_id]
    assert job["endpoint"] == page
    assert show_usd(job["charged_micros"]) == price
    # nothing outside the page was sent, and every parameter explicitly
    known = set(CATALOGUE.get(page, provider).parameters) | (
        {"model"} if request.provider == "aimlapi" else set()
    )
    assert set(job["body"]) <= known
    data_of = store.get_bytes(attempt.delivery["key"].removesuffix(".mp4") + ".json")
    assert data_of is not None
    manifest = Manifest.from_json_bytes(data_of, where="here")
    assert manifest.video is not None
    assert (manifest.video.width, manifest.video.height) == frame
    assert manifest.failures == []
    # uploaded files are named by their path, never by their uploaded address
    assert b"/uploads/" not in data_of
    assert b"/fal/files/" not in data_of
    assert b"/v1/files/" not in data_of
    if "image" in parameters:
        assert f"file:{parameters['image']}#sha256=".encode() in data_of


def test_a_character_is_made_of_a_local_film_and_shown_in_a_clip(
    sandbox: RunningSandbox, ledger: Ledger, store: ObjectStore, data: Path
) -> None:
    endpoint = CATALOGUE.get("openai/sora-2/characters")
    body = endpoint.resolve("", {"video": "characters/joe.mp4", "name": "Joe"}, files=DataFolder(data))
    making = ClipRequest(
        kind="character",
        clip="joe",
        series="characters",
        provider="wavespeed",
        endpoint=endpoint.id,
        body=body,
        price_micros=endpoint.price(body),
        expected=Expected(),
    )
    found = with_engine(
        sandbox,
        ledger,
        data,
        "wavespeed",
        lambda engine: Maker(engine, run_id="run-1").make([making], decision="monday"),
    )
    made = found.made["joe"]
    assert made.outputs is not None
    (character,) = made.outputs
    assert character == f"char_{made.job_id}"
    assert show_usd(made.quoted_micros) == "$0.001"
    page = "openai/sora-2/text-to-video"
    request = rendered(data, page, {"characters": [character]})
    attempt = produce(sandbox, ledger, store, data, request)
    assert attempt.state is AttemptState.DELIVERED
