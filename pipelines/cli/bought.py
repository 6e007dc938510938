"""What a command says about the money of its decision, however it ends: read from the ledger, or not known."""

import contextlib
import signal
from collections.abc import Iterator

import typer

from pipelines.cli.terminal import complain
from resources.errors import DailiesError
from resources.ledger.purchases import purchases_of
from resources.settings import Settings, open_ledger

INTERRUPTED = 130
"""The exit code after Ctrl-C, as in shells."""


def bought_so_far(settings: Settings, decision: str) -> str:
    """What a decision has bought so far by the ledger, in sentences for a person."""
    try:
        with open_ledger(settings) as ledger:
            return str(purchases_of(ledger, decision))
    except DailiesError:
        return (
            "What was bought so far is not known, because the ledger cannot be read. `dailies status` shows it when the ledger "
            "answers again; bought clips are still collected."
        )


@contextlib.contextmanager
def ended_with_a_word(settings: Settings, decision: str) -> Iterator[None]:
    """On Ctrl-C, say what was bought and what goes on before the command ends, however often it is pressed.

    Raises:
        typer.Exit: Ctrl-C was pressed; with `INTERRUPTED`.
    """
    try:
        yield
    except KeyboardInterrupt:
        # a second Ctrl-C must not cut the message off
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            complain(
                f"interrupted: this command stops waiting; the runs of {decision} in Dagster go on. "
                f"{bought_so_far(settings, decision)}"
            )
        finally:
            signal.signal(signal.SIGINT, before)
        raise typer.Exit(INTERRUPTED) from None
