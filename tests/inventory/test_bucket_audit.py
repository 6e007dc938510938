"""The audit of the bucket over a history that is read in pages."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from bench.history import write_history
from resources.inventory import bucket_audit
from resources.inventory.bucket_audit import KeptTake, take_stock
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.newest import newest
from resources.ledger.schema import attempts
from resources.ledger.states import AttemptState
from resources.ledger.stored_forms import StoredTake, whole_delivery
from resources.storage.layout import current_key, manifest_key, video_key
from resources.storage.objects import ObjectInfo, ObjectStore

NOW = 1_795_000_000.0


class Listed:
    """A bucket that can only be listed."""

    def __init__(self, objects: dict[str, int]) -> None:
        self.objects = objects

    def list_objects(self, prefix: str) -> Iterator[ObjectInfo]:
        # a server that does not return keys in order
        for key in reversed(self.objects):
            if key.startswith(prefix):
                stored = datetime.fromtimestamp(NOW - 86_400, UTC)
                yield ObjectInfo(key, self.objects[key], None, None, modified=stored)


@pytest.mark.slow
def test_a_history_is_compared_in_pages_object_by_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget(), clock=lambda: NOW) as ledger:
        write_history(ledger, 400, now=NOW)
        objects, takes = everything(ledger)
        assert len(takes) > 300, "more takes than some pages"
        ids = list(takes)
        gone, other, double = takes[ids[0]], takes[ids[150]], takes[ids[-1]]
        del objects[gone.manifest]
        objects[other.video] += 1
        objects[f"quarantine/{double.video.removeprefix('videos/')}"] = 7
        objects[video_key("nobody-knows", "a1")] = 5
        objects[manifest_key("nobody-knows", "b2")] = 5
        del objects[current_key(other.clip)]
        pages: list[Any] = []
        monkeypatch.setattr(bucket_audit, "PAGE", 100)
        sa.event.listen(ledger._engine, "before_cursor_execute", lambda *told: pages.append(told[3]))
        stock = take_stock(ledger, cast("ObjectStore", Listed(objects)), now=NOW)
    assert sorted((m.take.attempt, m.what) for m in stock.missing) == sorted(
        [(gone.attempt, "manifest"), (other.attempt, "current"), (other.attempt, "video")]
    )
    assert stock.unknown == [manifest_key("nobody-knows", "b2")]
    assert [take.attempt for take, _ in stock.doubles] == [double.attempt]
    assert [key for key, _ in stock.stray if "nobody" in key] == [video_key("nobody-knows", "a1")]
    assert (stock.objects, stock.size) == (len(objects), sum(objects.values()))
    assert len([page for page in pages if 100 in page]) == 5, "four full pages and the end"


def everything(ledger: Ledger) -> tuple[dict[str, int], dict[str, KeptTake]]:
    """The objects of every stored take, and the takes, oldest first."""
    objects: dict[str, int] = {}
    takes = {}
    with ledger.read() as connection:
        rows = connection.execute(sa.select(attempts).order_by(attempts.c.seq)).all()
    for row in rows:
        if row.delivery is not None:
            whole = whole_delivery(row.delivery, StoredTake(row.subject_key, row.id))
            take = takes[row.id] = KeptTake.of(row.id, row.subject_key, whole)
            objects |= {take.video: take.size or 1, take.manifest: 9}
            objects |= {key: 3 for key in (take.poster, take.strip) if key is not None}
    objects |= {current_key(one.subject_key): 2 for one in newest(ledger, {AttemptState.DELIVERED})}
    return objects, takes
