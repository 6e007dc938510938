"""The home of dailies: a separate folder that no other user of the machine can read or enter.

A user who can read the ledger has the key of the webhooks' addresses, and one who reaches the code server can start runs that buy.
"""

import contextlib
import os
import re
import stat
import tempfile
from pathlib import Path

from resources.errors import ConfigurationError

UMASK = 0o077
"""The umask of every process of dailies."""
SOCKETS = "run"
ROOM_PORT = 3030
ROOM_PORT_FILE = "room-port"
"""Below the home: the port of the room of `dailies up`."""
SOCKET_FOLDER_BYTES = 85
"""A socket's path has 103 bytes on macOS and 107 on Linux (sys/un.h); the fork server names one `listener-` and eight letters."""
_PLAIN = re.compile(r"[A-Za-z0-9_./@+-]+")


def make_private(home: Path, *, whole: bool = False) -> None:
    """Make the home if it is missing, and remove all rights of other users to it.

    Args:
        whole: Whether to check everything in it, even if nobody else can enter it.

    Raises:
        ConfigurationError: The home cannot be made, belongs to another user, or is a folder that others need.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = home.stat()
        shared = _is_shared(home, status)
        was_open = bool(status.st_mode & UMASK)
        if was_open:
            home.chmod(0o700)
        if (was_open or whole) and not shared:
            _tighten(home)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write to {home}: {error.strerror}. Choose another folder with DAILIES_HOME."
        ) from None


def _is_shared(home: Path, status: os.stat_result) -> bool:
    """Whether the home is the user's home folder or the project's, whose other files keep their rights.

    Raises:
        ConfigurationError: The home is a folder that others need, or belongs to another user.
    """
    # unlike Path.home() it also answers without a home, as for a container's nameless user
    place, more = home.resolve(), {Path.cwd(), Path(os.path.expanduser("~")).resolve()}  # noqa: PTH111
    if status.st_mode & stat.S_ISVTX or any(place in folder.parents for folder in more):
        why = "also holds files of others, as a temporary folder, a home folder or the project's folder does"
    elif os.geteuid() not in {status.st_uid, 0}:
        why = "belongs to another user of this machine"
    else:
        return place in more
    raise ConfigurationError(
        f"{home} {why}. Choose a folder of its own with DAILIES_HOME, e.g. {home / 'dailies'}"
    )


def _tighten(folder: Path) -> None:
    """Remove all rights of others below a folder that they cannot enter; files of other users are left alone."""
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            place = Path(path, name)
            # temporary files may disappear meanwhile
            with contextlib.suppress(FileNotFoundError, PermissionError):
                mode = place.lstat().st_mode
                if not stat.S_ISLNK(mode) and mode & UMASK:
                    place.chmod(stat.S_IMODE(mode) & ~UMASK)


def socket_folder(home: Path) -> tuple[Path, bool]:
    """A folder for Unix sockets that only this user can enter, and whether to remove it at the end.

    It is in the home. If the home's path is too long for a socket, or has characters with a meaning for gRPC, it is a new
    temporary folder.

    Raises:
        ConfigurationError: No path is short enough.
    """
    folder = home / SOCKETS
    if _takes_sockets(folder):
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.iterdir():
            if left.is_socket():
                left.unlink(missing_ok=True)
        return folder, False
    for place in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - the folder in it is new and ours alone
        if _takes_sockets(Path(place) / "dailies-12345678"):
            return Path(tempfile.mkdtemp(prefix="dailies-", dir=place)), True
    raise ConfigurationError(
        f"the path of {home} is too long for a Unix socket, and so is that of the temporary files. Choose a home with a "
        "shorter path with DAILIES_HOME, or set TMPDIR."
    )


def _takes_sockets(folder: Path) -> bool:
    path = str(folder)
    return len(os.fsencode(path)) <= SOCKET_FOLDER_BYTES and bool(_PLAIN.fullmatch(path))


def room_address(home: Path) -> str:
    """The address of the room that `dailies up` serves, at the port of last time."""
    with contextlib.suppress(OSError, ValueError):
        return f"http://127.0.0.1:{int((home / ROOM_PORT_FILE).read_text())}/"
    return f"http://127.0.0.1:{ROOM_PORT}/"
