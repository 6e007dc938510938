"""What a command says of the money of the decision it has made, however it ends: read from the ledger, or not known."""

import contextlib
import signal
from collections.abc import Iterator

import typer

from pipelines.cli.terminal import complain
from resources.errors import DailiesError
from resources.ledger.purchases import purchases_of
from resources.settings import Settings, open_ledger

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C has ended, as shells have it."""


def bought_so_far(settings: Settings, decision: str) -> str:
    """What a decision has bought so far, as the ledger knows it, in sentences for a person."""
    try:
        with open_ledger(settings) as ledger:
            return str(purchases_of(ledger, decision))
    except DailiesError:
        return (
            "What was bought so far is not known, since the ledger cannot be read. `dailies status` shows it when it answers; "
            "what was bought goes on."
        )


@contextlib.contextmanager
def ended_with_a_word(settings: Settings, decision: str) -> Iterator[None]:
    """Let Ctrl-C end the command with what was bought and what goes on, however often it is pressed.

    Raises:
        typer.Exit: Ctrl-C was pressed; with `INTERRUPTED`.
    """
    try:
        yield
    except KeyboardInterrupt:
        # the second of two quick ones must not end the sentence before it is out
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            complain(
                f"interrupted: this command no longer waits, the runs of {decision} in Dagster go on. "
                f"{bought_so_far(settings, decision)}"
            )
        finally:
            signal.signal(signal.SIGINT, before)
        raise typer.Exit(INTERRUPTED) from None
