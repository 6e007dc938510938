"""One inspector for all tests of a session, as in production."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from makers import make_mp4

from resources.video.inspector import VideoInspector


@pytest.fixture(scope="session")
def inspector() -> Iterator[VideoInspector]:
    with VideoInspector() as made:
        yield made


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good clip: 320x180, two seconds, 24 frames a second, with sound."""
    return make_mp4(tmp_path_factory.mktemp("clips") / "good.mp4")
