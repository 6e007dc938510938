"""A batch reads the changed clips, not every clip at every change."""

from collections.abc import Collection

import pytest
import sqlalchemy as sa
from fakes import World, a_request

from resources.ledger.changes import EVERYTHING_SECONDS, ChangedClips
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import journal
from resources.orders import TakeSlot
from resources.production.batch import Stage

A, B = TakeSlot("clip-a"), TakeSlot("clip-b")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of clips that each read returns."""
    found: list[int] = []
    whole = Ledger.latest_takes

    def counted(ledger: Ledger, keys: Collection[str]) -> dict[TakeSlot, Attempt]:
        found.append(len(keys))
        return whole(ledger, keys)

    monkeypatch.setattr(Ledger, "latest_takes", counted)
    return found


def entries(world: World) -> int:
    with world.ledger.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(journal)).scalar_one()


def queue(world: World, *clips: str, decision: str = "monday") -> None:
    decide(world.ledger, [a_request(clip) for clip in clips], Decision(decision))


@pytest.mark.slow
@pytest.mark.parametrize("count", [25, pytest.param(100, marks=pytest.mark.night)])
def test_a_batch_reads_as_many_clips_as_have_changed(world: World, reads: list[int], count: int) -> None:
    clips = [f"clip-{number:03}" for number in range(count)]
    follower = world.follower(Stage.DELIVERED)
    began = world.clock()
    decided = decide(world.ledger, [a_request(clip) for clip in clips], Decision("monday"))
    result = world.run(follower.follow(decided))
    assert result.failed == {}
    rounds = (world.clock() - began) / EVERYTHING_SECONDS + 1
    # each change of each clip once, and every clip once a round; clips times changes would be 25 times as many
    assert sum(reads) <= entries(world) + rounds * count


def test_only_changed_clips_are_read(world: World, reads: list[int]) -> None:
    queue(world, "clip-a", "clip-b", "clip-c")
    changes = ChangedClips()
    assert sorted(changes.read(world.ledger, {A, B})) == [A, B]
    assert changes.read(world.ledger, {A, B}) == {}
    queue(world, "clip-d")
    assert changes.read(world.ledger, {A, B}) == {}
    assert sum(reads) == 2


def test_everything_is_read_again_after_a_while(world: World) -> None:
    """PostgreSQL numbers an entry of the journal before its commit, so a reader may miss one."""
    queue(world, "clip-a")
    changes = ChangedClips()
    changes.read(world.ledger, {A})
    world.clock.now += EVERYTHING_SECONDS
    assert list(changes.read(world.ledger, {A})) == [A]


def test_after_a_clock_was_set_back_everything_is_read(world: World) -> None:
    queue(world, "clip-a")
    changes = ChangedClips()
    changes.read(world.ledger, {A})
    world.clock.now -= 3600
    assert list(changes.read(world.ledger, {A})) == [A]
