"""The thread that copies verdicts continues after an unforeseen error."""

import threading
from typing import Any

import pytest

from resources.room import verdict_keeper
from resources.room.verdict_keeper import VerdictKeeper


def test_an_unforeseen_error_does_not_end_the_copying(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [threading.Event(), threading.Event()]
    left = iter(calls)

    def store_verdicts(*_: object) -> int:
        call = next(left)
        call.set()
        if call is calls[0]:
            raise RuntimeError("a bug")
        return 0

    monkeypatch.setattr(verdict_keeper, "store_verdicts", store_verdicts)
    nothing: Any = None
    copies = VerdictKeeper(nothing, nothing)
    copies.start()
    assert calls[0].wait(60)
    copies.wake()
    assert calls[1].wait(60), "later verdicts would stay in the ledger alone"
    copies.stop()
