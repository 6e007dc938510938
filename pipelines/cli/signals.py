"""Signals that end a long-running command."""

import signal


def end_on_signals() -> None:
    """Let SIGTERM end the command as Ctrl-C does, and Ctrl-C even if a shell made the command ignore it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
