"""`dailies up` on the proof's clock, as a process that can be killed: `python -m proof.faults.paced_up PORT`."""

import sys
import time

from pipelines.cli.signals import end_on_signals
from pipelines.cli.stack import Stack, StackOptions
from resources.settings import load_settings

LOOK_SECONDS = 0.5


class BenchStack(Stack):
    """The product's stack with the proof's clock in its code location."""

    def _spawn(self, name: str, command: list[str], *, stdout: int | None = None) -> None:
        ours = ["proof.faults.definitions" if part == "pipelines.definitions" else part for part in command]
        super()._spawn(name, ours, stdout=stdout)


def say(text: str) -> None:
    """Put a line into the log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(port: int) -> None:
    """Run until Ctrl-C."""
    end_on_signals()
    wanted = StackOptions(port=port, sandbox=False, embedded_s3=True, log=say)
    with BenchStack(load_settings(), wanted) as stack:
        say("ready")
        try:
            while True:
                stack.tend()
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            say("ending")


if __name__ == "__main__":
    main(int(sys.argv[1]))
