"""An answer compared with the documentation: missing fields, other types, new fields, and no false difference."""

from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from providerkit import BareProvider

from resources.catalogue import Catalogue
from resources.errors import ConfigurationError, UnavailableError
from resources.providers.base import Charge, JobState, JobStatus
from resources.providers.registry import registered, spec_of
from resources.verification.comparison import Observation, compare
from resources.verification.observations import findings
from resources.verification.offers import Offer, cheapest
from resources.verification.probe import Watched
from resources.verification.recorder import Recorder

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
TODAY = date(2026, 11, 20)
DONE: dict[str, Any] = {
    "id": "a1",
    "model": "m",
    "outputs": ["https://x.example/a.mp4"],
    "urls": {"get": "https://x.example/a"},
    "has_nsfw_contents": [False],
    "status": "completed",
    "created_at": "2026-01-02T03:04:05.678Z",
    "error": "",
    "timings": {"inference": 141000},
}


def answer(**changes: Any) -> dict[str, Any]:
    data = {name: value for name, value in {**DONE, **changes}.items() if value is not ...}
    return {"code": 200, "message": "success", "data": data}


def said(document: Any, call: str = "result") -> set[tuple[str, str, str]]:
    return {(f.about, f.seen, f.verdict) for f in compare(spec_of("wavespeed").documented, call, document)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, set()),
        ({"has_nsfw_contents": None}, set()),
        ({"has_nsfw_contents": ..., "code": 0, "executionTime": 5, "input": {"prompt": "x", "size": "y"}}, set()),
        ({"error": None}, {("result: data.error", "null", "differs")}),
        ({"model": ...}, {("result: data.model", "missing", "differs")}),
        ({"timings": ...}, {("result: data.timings", "missing", "differs")}),
        ({"timings": {"total": 1}}, {
            ("result: data.timings.inference", "missing", "differs"),
            ("result: data.timings.total", "a number", "new"),
        }),
        ({"cost": {"usd": 1, "credits": 2}}, {("result: data.cost", "an object", "new")}),
        ({"outputs": "https://x.example/a.mp4"}, {("result: data.outputs", "text", "differs")}),
    ],
)  # fmt: skip
def test_a_difference_is_reported_once_with_its_place(changes: Any, says: Any) -> None:
    assert said(answer(**changes)) == says


def test_every_item_of_a_list_counts_and_an_empty_list_proves_nothing() -> None:
    item = {**DONE, "executionTime": 5}
    odd = {name: value for name, value in item.items() if name != "created_at"}
    page = {"code": 200, "message": "success", "data": {"page": 1, "items": []}}
    assert said(page, "list") == set()
    page["data"] = {"page": 1, "items": [item, {**odd, "created_at": 5, "extra": True}]}
    assert said(page, "list") == {
        ("list: data.items[].created_at", "a number", "differs"),
        ("list: data.items[].extra", "true or false", "new"),
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["data", "items", "id", "code", "urls", "get", "pagination", ""]), inner
            )
        ),
        max_leaves=15,
    )
)
def test_no_answer_raises_an_error_in_the_comparison(document: Any) -> None:
    for spec in registered().values():
        for call in spec.documented.fields:
            for finding in compare(spec.documented, call, document):
                assert finding.verdict in {"differs", "new"}


class Quotes(BareProvider):
    """An account with given quotes."""

    def __init__(self, name: str, quote: int | Exception | None) -> None:
        self.name, self._quote = name, quote

    async def quote(self, endpoint: str, body: dict[str, Any]) -> int | None:
        if isinstance(self._quote, Exception):
            raise self._quote
        return self._quote


async def offered(name: str, quote: Any, **how: Any) -> Any:
    return await cheapest(CATALOGUE, Quotes(name, quote), seller=name, today=TODAY, **how)


async def test_the_cheapest_clip_from_text_alone_is_chosen() -> None:
    offer = await offered("wavespeed", 960_000)
    assert (offer.endpoint.id, offer.listed_micros) == ("bytedance/seedance-2.0/text-to-video", 960_000)
    assert (offer.body["duration"], offer.body["resolution"]) == (4, "720p")
    offer = await offered("wavespeed", None, allow_retired=True)
    assert (offer.endpoint.id, offer.micros) == ("openai/sora-2/text-to-video", 400_000)
    offer = await offered(
        "wavespeed", 1_300_000, endpoint="openai/sora-2-pro/text-to-video", allow_retired=True
    )
    # the quote is above the page's price: the quote is reserved
    assert (offer.listed_micros, offer.micros) == (1_200_000, 1_300_000)


async def test_an_endpoint_without_a_price_is_quoted_or_not_bought() -> None:
    offer = await offered("aimlapi", 700_000, endpoint="bytedance/seedance-2-0")
    assert (offer.endpoint.id, offer.listed_micros, offer.micros) == ("bytedance/seedance-2-0", None, 700_000)
    for quote in (None, UnavailableError("down")):
        with pytest.raises(ConfigurationError, match="nothing was bought"):
            await offered("aimlapi", quote)


async def test_a_retired_endpoint_or_one_that_needs_an_image_is_not_chosen() -> None:
    with pytest.raises(
        ConfigurationError, match=r"use 'bytedance/seedance-2.0/text-to-video', or add --allow-retired"
    ):
        await offered("wavespeed", None, endpoint="openai/sora-2/text-to-video")
    with pytest.raises(ConfigurationError, match="makes no clip from text alone"):
        await offered("wavespeed", None, endpoint="bytedance/seedance-2.0/image-to-video")


async def test_an_exchange_is_recorded_without_key_and_signatures() -> None:
    def service(request: httpx.Request) -> httpx.Response:
        body = {
            "data": {"url": "https://x.example/a?X-Signature=sssh", "echo": request.headers["authorization"]}
        }
        return httpx.Response(200, json=body, headers={"X-Echo": request.headers["authorization"]})

    recorder = Recorder(
        spec_of("wavespeed").documented, "the-key-of-an-account", inner=httpx.MockTransport(service)
    )
    async with httpx.AsyncClient(transport=recorder.transport()) as client:
        headers = {"Authorization": "Bearer the-key-of-an-account"}
        url = "https://api.example.com/api/v3/a/b?webhook=https%3A%2F%2Fme%2Fhook%3Ftoken%3Dt0ken"
        answered = await client.post(url, headers=headers, json={"prompt": "x"})
    assert answered.json()["data"]["url"].endswith("sssh")
    (kept,) = recorder.of("submit")
    assert kept.sent["prompt"] == "x"
    for secret in ("the-key-of-an-account", "sssh", "t0ken"):
        assert secret not in str(kept) + repr(recorder)


LITE = "bytedance/seedance-2.0-lite/text-to-video"


@pytest.mark.parametrize(
    ("name", "quote", "charged", "status", "verdict"),
    [
        ("wavespeed", 960_000, 960_000, JobStatus.SUCCEEDED, "as documented"),
        ("wavespeed", 960_000, 550_000, JobStatus.SUCCEEDED, "differs"),
        ("wavespeed", 960_000, 960_001, JobStatus.SUCCEEDED, "differs"),
        ("wavespeed", None, 950_000, JobStatus.SUCCEEDED, "differs"),
        # the quote for this very job counts, whatever the catalogue says
        ("wavespeed", 500_000, 500_000, JobStatus.SUCCEEDED, "as documented"),
        ("aimlapi", 700_000, 0, JobStatus.FAILED, "as documented"),
        ("aimlapi", 700_000, 0, JobStatus.SUCCEEDED, "differs"),
    ],
)
async def test_a_charge_other_than_the_quote_is_a_difference(
    name: str, quote: int | None, charged: int, status: JobStatus, verdict: str
) -> None:
    offer = await offered(name, quote)
    (found,) = [
        f for f in bill_of(offer, Charge("a1", charged, "charge", 0.0), status) if "charge" in f.about
    ]
    assert (found.about, found.verdict) == ("the charge on the bill", verdict)


async def test_a_charge_below_an_upper_bound_is_as_documented() -> None:
    offer = await offered("aimlapi", None, endpoint="openai/sora-2-t2v", allow_retired=True)
    (found,) = bill_of(offer, Charge("a1", 100_000, "charge", 0.0))[1:]
    assert (found.documented, found.verdict) == ("$0.40", "as documented")


@pytest.mark.parametrize(
    ("model", "verdicts"),
    [(LITE, ["differs"]), ("Bytedance/Seedance-2.0/text-to-video", ["as documented"]), (None, [])],
)
async def test_another_model_on_the_bill_is_a_difference(model: str | None, verdicts: list[str]) -> None:
    offer = await offered("wavespeed", 960_000)
    found = bill_of(offer, Charge("a1", 960_000, "charge", 0.0, model))
    assert [f.verdict for f in found if f.about == "the model on the bill"] == verdicts


def bill_of(offer: Offer, charge: Charge, status: JobStatus = JobStatus.SUCCEEDED) -> list[Observation]:
    watched = Watched(state=JobState(status, status.value), charge=charge, billed_after=1.0)
    recorder = Recorder(spec_of(offer.endpoint.provider).documented, "a-key")
    found = findings(offer, recorder, watched, drift=[], film=None, clock=None)
    return sorted(
        (f for f in found if "bill" in f.about or "quote" in f.about), key=lambda f: f.about != "the quote"
    )
