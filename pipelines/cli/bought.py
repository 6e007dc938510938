"""What a command reports about the purchases of its decision when it ends."""

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
    """Describe what a decision has bought so far, as the ledger records it."""
    try:
        with open_ledger(settings) as ledger:
            return str(purchases_of(ledger, decision))
    except DailiesError:
        return (
            "What was bought so far is not known, because the ledger cannot be read. `dailies status` shows it when the ledger "
            "answers again. Clips that were bought are still collected."
        )


@contextlib.contextmanager
def reported_on_interrupt(settings: Settings, decision: str) -> Iterator[None]:
    """On Ctrl-C, report what was bought and which runs go on, then end the command.

    Raises:
        typer.Exit: Ctrl-C was pressed; the code is `INTERRUPTED`.
    """
    try:
        yield
    except KeyboardInterrupt:
        # a second Ctrl-C must not cut off the message
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            complain(
                f"interrupted: this command stops waiting; the runs of {decision} in Dagster go on. "
                f"{bought_so_far(settings, decision)}"
            )
        finally:
            signal.signal(signal.SIGINT, before)
        raise typer.Exit(INTERRUPTED) from None
