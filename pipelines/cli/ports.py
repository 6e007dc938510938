"""Ports of this machine: whether one is free, and whether a server answers."""

import contextlib
import socket
from pathlib import Path

from resources.errors import ConfigurationError
from resources.home import ROOM_PORT, ROOM_PORT_FILE

HOST = "127.0.0.1"


def check_port_is_free(port: int) -> None:
    """Check that nothing listens on a port.

    Raises:
        ConfigurationError: Another program listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigurationError(
                f"port {port} on {HOST} cannot be used ({error.strerror}): something else listens there, perhaps another "
                f"Dagster. Choose another one: --port {port + 1}"
            ) from None


def usual_port(usual: int) -> int:
    """The usual port, or a free one if something else listens there."""
    try:
        check_port_is_free(usual)
    except ConfigurationError:
        return free_port()
    return usual


def listen_for_room(home: Path) -> socket.socket:
    """A socket that listens at the room's port: the last one, `ROOM_PORT`, or any free port.

    The room's process inherits the socket. If the port were only checked, another home's room could take it before that process has
    loaded, and people would judge and buy there at this home's address.
    """
    file = home / ROOM_PORT_FILE
    for port in (kept_port(file), ROOM_PORT):
        with contextlib.suppress(OSError):
            if port:
                listening = socket.create_server((HOST, port))
                break
    else:
        listening = socket.create_server((HOST, 0))
    file.write_text(str(listening.getsockname()[1]))
    return listening


def kept_port(file: Path) -> int:
    """The port in a file, if it is free; otherwise 0, which picks a free one."""
    with contextlib.suppress(OSError, ValueError, ConfigurationError, OverflowError):
        port = int(file.read_text())
        check_port_is_free(port)
        return port
    return 0


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def answers(address: str | tuple[str, int]) -> bool:
    """Whether something listens at the path of a Unix socket, or at a host and port."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family) as probe:
        probe.settimeout(1)
        probe.connect(address)
        return True
    return False
