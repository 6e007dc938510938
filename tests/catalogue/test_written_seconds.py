"""Some providers write a length as text: `5` or `8s`. Series write whole seconds everywhere."""

from typing import Any

import pytest

from resources.catalogue.endpoint import Endpoint
from resources.catalogue.frames import seconds_of
from resources.declared.problems import ProblemsError


def endpoint(allowed: list[str], **parameters: Any) -> Endpoint:
    return Endpoint.model_validate(
        {
            "provider": "wavespeed",
            "id": "maker/model",
            "title": "A model",
            "kind": "text-to-video",
            "parameters": {
                "prompt": {"type": "string", "required": True},
                "duration": {"type": "string", "default": allowed[0], "allowed": allowed},
                **parameters,
            },
            "pricing": {"basis": "listed", "source": "its page", "usd": "0.10"},
            "output": {"seconds": "duration"},
            "lifecycle": {"status": "live"},
            "source": "its page",
            "checked": "2026-11-29",
        }
    )


@pytest.mark.parametrize(("allowed", "sent"), [(["4", "5"], "5"), (["4s", "5s"], "5s")])
def test_whole_seconds_are_sent_as_the_provider_writes_them(allowed: list[str], sent: str) -> None:
    model = endpoint(allowed)
    body = model.resolve("a boat", {"duration": 5})
    assert body["duration"] == sent
    assert model.price(body) == 500_000
    assert model.expected(body).duration == 5


def test_a_length_that_is_not_sold_is_refused() -> None:
    with pytest.raises(ProblemsError):
        endpoint(["4s", "5s"]).resolve("a boat", {"duration": 6})


@pytest.mark.parametrize(
    ("value", "seconds"), [("auto", None), ("0", None), (True, None), ("12s", 12), (3, 3)]
)
def test_values_that_count_as_seconds(value: object, seconds: int | None) -> None:
    assert seconds_of(value) == seconds
