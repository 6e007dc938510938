"""The command `dailies`: starting everything on one machine, asking for clips, looking at them.

It asks Dagster over GraphQL, as its UI does, and reads the ledger. It asks a provider only for what is free: its listing and
its bill.
"""

import sys


def main() -> None:
    """Run the command; errors meant for people end it with their sentence and exit code, without a traceback."""
    from pipelines.cli.app import app
    from pipelines.cli.output import complain
    from resources.errors import DailiesError

    try:
        app()
    except DailiesError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        complain("interrupted; what was bought goes on and is collected by the completion sensor")
        sys.exit(130)
