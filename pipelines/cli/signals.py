"""How a command that runs for long is ended."""

import signal


def end_on_signals() -> None:
    """Let SIGTERM end the command as Ctrl-C does, and Ctrl-C end it where a shell told it to ignore it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
