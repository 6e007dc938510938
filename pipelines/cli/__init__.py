"""The command `dailies`: it starts everything on one machine, requests clips and shows them.

It talks to Dagster over GraphQL, as the UI does, and reads the ledger. It sends providers only free requests, except for
`verify-provider`.
"""

import contextlib
import errno
import os
import sys

from resources.garbage import collect_rarely

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
"""Python names no file in such an error of a write."""


def main() -> None:
    """Run the command. A `DailiesError` ends it with its text and exit code, without a traceback."""
    # before the imports, whose objects it concerns
    collect_rarely()
    from pipelines.cli.app import app
    from pipelines.cli.terminal import complain
    from resources.errors import DailiesError
    from resources.home import UMASK
    from resources.log_lines import use_setting
    from resources.plain import UNFIT

    os.umask(UMASK)
    use_setting()
    if any(UNFIT.search(argument) for argument in sys.argv[1:]):
        complain("an argument contains a control character or is not text. Nothing was done.")
        sys.exit(2)
    if not {"--install-completion", "--show-completion"}.isdisjoint(sys.argv):
        from pipelines.cli.completion import complete_as_typed

        complete_as_typed()
    try:
        if not _only_prints(sys.argv[1:]):
            _keep_private()
        app()
    except DailiesError as error:
        complain(_with_notes(str(error), error))
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is None and error.errno not in _NO_ROOM:
            raise
        complain(_with_notes(_unusable_file(error), error))
        sys.exit(2)
    except SystemExit as ended:
        # Typer turns Ctrl-C into a silent exit; a command that has printed its own message does not have this cause
        if isinstance(getattr(ended.__context__, "__cause__", None), KeyboardInterrupt):
            complain("interrupted; bought clips are collected by the completion sensor")
        raise


def _with_notes(text: str, error: Exception) -> str:
    return "\n".join([text, *getattr(error, "__notes__", [])])


def _unusable_file(error: OSError) -> str:
    """A file or folder that the command needed and the system refused, and what helps."""
    if error.errno in _NO_ROOM:
        where = "" if error.filename is None else f" for {error.filename}"
        return (
            f"the disk has no room{where}: {error.strerror}. Free space where the home (DAILIES_HOME) and temporary files are, then "
            "run the command again."
        )
    cure = (
        "Let your user read and write it"
        if isinstance(error, PermissionError)
        else "Check its path and its disk"
    )
    return (
        f"cannot use {error.filename}: {error.strerror}. {cure}, or name another folder: DAILIES_HOME for the home, DAILIES_DATA for "
        "the declarations."
    )


def _only_prints(arguments: list[str]) -> bool:
    """Whether the command reads no settings: help, the version, or shell completion."""
    return (
        not arguments
        or not {"--help", "--version"}.isdisjoint(arguments)
        or "_DAILIES_COMPLETE" in os.environ
    )


def _keep_private() -> None:
    """Make the home of an earlier version unreadable for other users. If that fails, `dailies up` refuses the home."""
    from resources.errors import DailiesError
    from resources.home import make_private
    from resources.settings import load_settings

    with contextlib.suppress(DailiesError):
        home = load_settings().home
        if home.is_dir():
            make_private(home)
