"""Workers that are killed at random while they deliver clips: the short form of `make bench-deliveries`."""

from collections.abc import Iterator

import pytest

from proof.deliveries.depot import Depot, filled
from proof.deliveries.judge import violations
from proof.deliveries.storm import storm
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts
from resources.storage.objects import ObjectStore

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def depot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Depot]:
    """The tests use it in the order of the file; each depot costs a server, a bucket and a worker with its inspectors."""
    with filled(tmp_path_factory.mktemp("depot"), clips=12, lease_seconds=0.5, seed=3) as made:
        yield made


def test_every_clip_is_delivered_once_although_workers_are_killed(depot: Depot) -> None:
    assert any("was delivered 0 times" in one for one in violations(depot)), "a negative control"
    happened = storm(depot, kills=3, seed=3, longest_seconds=0.5)
    assert happened["kills"] >= 2, "fewer kills would test nothing"
    assert violations(depot) == []


def test_the_judge_finds_every_violation(depot: Depot) -> None:
    """Negative controls: without them an empty list of violations would prove nothing."""
    import sqlalchemy as sa

    storm(depot, kills=0, seed=3, longest_seconds=0.1)
    assert violations(depot) == []
    store = ObjectStore(depot.s3.settings)
    with Ledger(depot.ledger, budget=Budget()) as ledger, ledger.read() as connection:
        first = connection.execute(sa.select(attempts.c.id).order_by(attempts.c.seq)).scalar()
    store.put_bytes("videos/clip-0000/stray.mp4", b"stray", content_type="video/mp4")
    store.put_bytes(f"videos/clip-0000/{first}.webp", b"other", content_type="image/webp", overwrite=True)
    (depot.scratch / "left").mkdir()
    depot.digests["clip-0001"] = "0" * 64
    found = "\n".join(violations(depot))
    for said in (
        "named by no manifest",
        "differs from its manifest",
        "left behind",
        "differs from the provider's file",
    ):
        assert said in found
