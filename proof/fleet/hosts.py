"""Hosts of a fleet, and the cables to them."""

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

GATEWAY = "10.77.0.1"
"""The hub's address in the network of the namespaces."""
_PIECE = 1 << 16
_LOOK_SECONDS = 0.05
_CONNECT_SECONDS = 2.0

Target = tuple[str, int] | Path
"""Address of a service: host and port, or a Unix socket."""


class Relay:
    """Forwards an address to a service; a context manager.

    Args:
        address: The address to listen on.
        targets: Addresses of the service; connections take turns, and skip a target that does not answer.
        held: While this is set, no data passes in either direction, and no connection is closed.
        port: The port to listen on; 0 picks one.
    """

    def __init__(self, address: str, *targets: Target, held: threading.Event, port: int = 0) -> None:
        self._targets, self._held = targets, held
        self._turns = itertools.count()
        self._listener = socket.create_server((address, port))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no further connections; open ones end with their programs."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        self._wait()
        turn = next(self._turns)
        for number in range(len(self._targets)):
            target = self._targets[(turn + number) % len(self._targets)]
            far = socket.socket(socket.AF_UNIX if isinstance(target, Path) else socket.AF_INET)
            far.settimeout(_CONNECT_SECONDS)
            try:
                far.connect(str(target) if isinstance(target, Path) else target)
            except OSError:
                far.close()
                continue
            far.settimeout(None)
            threading.Thread(target=self._pump, args=(near, far), daemon=True).start()
            self._pump(far, near)
            return
        near.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                self._wait()
                sink.sendall(piece)
        self._wait()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _wait(self) -> None:
        while self._held.is_set():
            time.sleep(_LOOK_SECONDS)


@dataclass
class Host:
    """A host of the fleet."""

    name: str
    prefix: tuple[str, ...]
    """Prefix of every command on this host."""
    gateway: str
    """Address at which the host reaches the services."""
    _link: tuple[str, ...] | None
    """Command that sets the host's cable `up` or `down`; None if the relays act as its cable."""
    _holds: dict[str, threading.Event] = field(default_factory=dict)
    _relays: dict[str, Relay] = field(default_factory=dict)
    is_cut: bool = False
    address: str = "127.0.0.1"
    """Address at which other hosts reach this one."""
    space: str = ""
    """Name of the host's network namespace."""

    def kill(self) -> None:
        """Kill every process of the host's namespace, as a power cut does."""
        for _ in range(5):
            found = subprocess.run(["ip", "netns", "pids", self.space], capture_output=True, check=False)
            for pid in map(int, found.stdout.split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not found.stdout.split():
                return
            time.sleep(_LOOK_SECONDS)

    def reach(self, name: str, target: Target) -> str:
        """The address at which the host reaches a service, as `host:port`."""
        held = self._holds[name] = threading.Event()
        relay = self._relays[name] = Relay(self.gateway, target, held=held)
        return f"{self.gateway}:{relay.port}"

    def cut(self) -> None:
        """Pull the host's cable: no packet passes, and no connection is closed."""
        self.is_cut = True
        self._set("down")

    def mend(self) -> None:
        """Put the host's cable back."""
        self._set("up")
        self.is_cut = False

    def cut_from(self, name: str) -> None:
        """Block one service; connections to it stay open."""
        self._holds[name].set()

    def mend_to(self, name: str) -> None:
        """Unblock that service."""
        self._holds[name].clear()

    def close(self) -> None:
        """Close the host's relays."""
        for name, relay in self._relays.items():
            relay.close()
            self.mend_to(name)

    def _set(self, state: str) -> None:
        if self._link is not None:
            _ip(*self._link, state)
        else:
            for name in self._relays:
                (self.cut_from if state == "down" else self.mend_to)(name)


@contextlib.contextmanager
def fleet_of(names: list[str], *, namespaces: bool) -> Iterator[dict[str, Host]]:
    """Make hosts with these names.

    Args:
        namespaces: Whether each host is a network namespace; otherwise hosts are addresses of this machine.
    """
    with contextlib.ExitStack() as stack:
        hosts = _namespaces(names, stack) if namespaces else _addresses(names)
        for host in hosts.values():
            stack.callback(host.close)
        yield hosts


def can_make_namespaces() -> bool:
    """Whether this user may make a network namespace here."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    name = f"dailies-{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return made


def _addresses(names: list[str]) -> dict[str, Host]:
    return {name: Host(name, (), f"127.0.0.{number}", None) for number, name in enumerate(names, 2)}


def sweep() -> None:
    """Remove namespaces and bridges of killed proofs, which use the same addresses as the next proof."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    for space in (line.split()[0] for line in listed.splitlines() if line.startswith("dailies-")):
        if not _lives(space.split("-")[1]):
            Host(space, (), GATEWAY, None, space=space).kill()
            _ip("netns", "delete", space)
    for bridge in Path("/sys/class/net").glob("dbr*"):
        if not _lives(bridge.name.removeprefix("dbr")):
            _ip("link", "delete", bridge.name)


def _lives(pid: str) -> bool:
    return Path("/proc", pid).exists()


def _namespaces(names: list[str], stack: contextlib.ExitStack) -> dict[str, Host]:
    sweep()
    if others := [bridge.name for bridge in Path("/sys/class/net").glob("dbr*")]:
        # two proofs with the same addresses received each other's answers, and both stalled
        raise RuntimeError(
            f"another proof on this machine uses the same addresses ({others[0]}): wait until it has ended"
        )
    mark = os.getpid()
    bridge = f"dbr{mark}"
    _ip("link", "add", bridge, "type", "bridge")
    stack.callback(_ip, "link", "delete", bridge)
    _ip("addr", "add", f"{GATEWAY}/24", "dev", bridge)
    _ip("link", "set", bridge, "up")
    hosts = {}
    for number, name in enumerate(names, 2):
        space, cable = f"dailies-{mark}-{name}", f"dv{mark}-{number}"
        _ip("netns", "add", space)
        stack.callback(_ip, "netns", "delete", space)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("link", "set", cable, "master", bridge, "up")
        _ip("-n", space, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", space, "link", "set", device, "up")
        named = ("unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', name)
        prefix = ("ip", "netns", "exec", space, *named)
        hosts[name] = Host(name, prefix, GATEWAY, ("link", "set", cable))
        hosts[name].address, hosts[name].space = f"10.77.0.{number}", space
        stack.callback(hosts[name].kill)
    return hosts


def main() -> None:
    """Forward a port of 127.0.0.1 in a namespace to other hosts: clients send keys over plain http to 127.0.0.1 only."""
    port, *places = sys.argv[1:]
    targets = [(address, int(far)) for address, _, far in (place.partition(":") for place in places)]
    Relay("127.0.0.1", *targets, held=threading.Event(), port=int(port))
    print("ready", flush=True)
    threading.Event().wait()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


if __name__ == "__main__":
    main()
