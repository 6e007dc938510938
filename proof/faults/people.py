"""People who judge drafts during a storm, in real processes that are killed like the workers, by room and terminal at once."""

import json
import os
import random
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from proof.clock import FastClock
from resources.errors import DailiesError
from resources.ledger.finishes import judge_and_finish, next_decision, order_finish
from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts
from resources.ledger.verdicts import Verdict, VerdictWay, Word, judge
from resources.production.verdict_objects import store_verdicts
from resources.storage.objects import ObjectStore

AT_MOST_MICROS = 1_000_000_000
BETWEEN_SECONDS = (1.0, 5.0)
"""Seconds of the proof's clock from one verdict to the next."""
WORDS = (Word.CIRCLED, Word.CIRCLED, Word.CIRCLED, Word.REJECTED, Word.TAKEN_BACK)


def judge_drafts(ledger: Ledger, store: ObjectStore, pace: FastClock, said: Path) -> None:
    """Judge drafts for ever.

    Args:
        said: The file that records each verdict and the answer to it.
    """
    rng = random.Random()
    while True:
        try:
            _judge_one(ledger, store, rng, said)
        except DailiesError as error:
            print(f"judge: {error}", flush=True)
        time.sleep(pace.real(rng.uniform(*BETWEEN_SECONDS)))


def _judge_one(ledger: Ledger, store: ObjectStore, rng: random.Random, said: Path) -> None:
    query = sa.select(attempts.c.id, attempts.c.subject_key).where(
        attempts.c.is_draft, attempts.c.state == "delivered"
    )
    with ledger.read() as connection:
        drafts = connection.execute(query).all()
    if not drafts:
        return
    draft, clip = rng.choice(drafts)
    verdict = Verdict(
        id=uuid.uuid4().hex, take=draft, word=rng.choice(WORDS), who=f"pid {os.getpid()}", way=VerdictWay.ROOM
    )
    is_circle = verdict.word is Word.CIRCLED
    _write(said, given=verdict.id, take=draft, clip=clip, is_circle=is_circle)
    if is_circle:
        # the room's answer is sent twice, while the terminal orders the same finish
        work: list[Callable[[], Any]] = [
            lambda: judge_and_finish(ledger, verdict, at_most_micros=AT_MOST_MICROS),
            lambda: judge_and_finish(ledger, verdict, at_most_micros=AT_MOST_MICROS),
            lambda: _order(ledger, clip, draft),
        ]
    else:
        work = [lambda: judge(ledger, verdict)]
    with ThreadPoolExecutor(len(work)) as threads:
        done = list(threads.map(_succeeds, work))
    if any(done[:2]):
        _write(said, answered=verdict.id)
    store_verdicts(ledger, store)


def _order(ledger: Ledger, clip: str, draft: str) -> None:
    """Order a draft's finish, as the terminal does for the price that it has shown."""
    with ledger.read() as connection:
        decision = next_decision(connection, draft)
    order_finish(ledger, clip, decision=decision, at_most_micros=AT_MOST_MICROS, who="terminal")


def _succeeds(work: Callable[[], Any]) -> bool:
    try:
        work()
    except DailiesError:
        return False
    return True


def _write(said: Path, **words: Any) -> None:
    """Add a line in one write, so that a kill leaves no part of it."""
    descriptor = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(words).encode() + b"\n")
    finally:
        os.close(descriptor)
