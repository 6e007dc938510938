from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points

import pytest

from resources.sandbox import front_registry
from resources.sandbox.endpoints import load_endpoints


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the invented provider's front beside ours."""
    made_up = EntryPoint("acme", "acme_video.front:FRONT", front_registry.GROUP)
    monkeypatch.setattr(front_registry, "entry_points", lambda group: [*entry_points(group=group), made_up])
    for cached in (front_registry.fronts, load_endpoints):
        cached.cache_clear()
    yield
    for cached in (front_registry.fronts, load_endpoints):
        cached.cache_clear()
