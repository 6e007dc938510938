"""The command `dailies`: starting everything on one machine, asking for clips, looking at them.

It asks Dagster over GraphQL, as its UI does, and reads the ledger. It asks a provider only for what is free: its listing and
its bill.
"""

import contextlib
import os
import sys


def main() -> None:
    """Run the command; errors meant for people end it with their sentence and exit code, without a traceback."""
    from pipelines.cli.app import app
    from pipelines.cli.terminal import complain
    from resources.errors import DailiesError
    from resources.home import UMASK
    from resources.plain import UNFIT

    os.umask(UMASK)
    if any(UNFIT.search(argument) for argument in sys.argv[1:]):
        complain("an argument holds a control character, or is not text. Nothing was done.")
        sys.exit(2)
    try:
        _keep_private()
        app()
    except DailiesError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except SystemExit as ended:
        # Typer turns Ctrl-C into an exit without a word; a command that has said its own ends without this cause
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
            complain("interrupted; what was bought goes on and is collected by the completion sensor")
        raise


def _keep_private() -> None:
    """Take a home that an earlier version made from the other users of the machine; `dailies up` refuses one that cannot be."""
    from resources.errors import DailiesError
    from resources.home import make_private
    from resources.settings import load_settings

    with contextlib.suppress(DailiesError):
        home = load_settings().home
        if home.is_dir():
            make_private(home)
