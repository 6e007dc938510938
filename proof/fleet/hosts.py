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
"""The hub's address in the namespaces' network."""
_PIECE = 1 << 16
_LOOK_SECONDS = 0.05
_CONNECT_SECONDS = 2.0

Target = tuple[str, int] | Path
"""Where a service listens: host and port, or a Unix socket."""


class Relay:
    """Carries one service to an address; a context manager.

    Args:
        address: Where it listens.
        targets: Where the service runs; lines go to each in turn, and past one that does not answer.
        held: While it is set, nothing passes in either direction, and nothing is closed.
        port: Where it listens; 0 picks one.
    """

    def __init__(self, address: str, *targets: Target, held: threading.Event, port: int = 0) -> None:
        self._targets, self._held = targets, held
        self._turns = itertools.count()
        self._listener = socket.create_server((address, port))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more; lines that stand end with their programs."""
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
    """What precedes a command that it runs."""
    gateway: str
    """Where it reaches the services."""
    _link: tuple[str, ...] | None
    """The command that sets its cable `up` or `down`; None if the relays are its cable."""
    _holds: dict[str, threading.Event] = field(default_factory=dict)
    _relays: dict[str, Relay] = field(default_factory=dict)
    is_cut: bool = False
    address: str = "127.0.0.1"
    """Where other hosts reach it."""
    space: str = ""
    """The name of its network namespace."""

    def kill(self) -> None:
        """Kill every process of its namespace, as a power cut does."""
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
        """Pull its cable: no packet comes through, and no line is closed."""
        self.is_cut = True
        self._set("down")

    def mend(self) -> None:
        """Put its cable back."""
        self._set("up")
        self.is_cut = False

    def cut_from(self, name: str) -> None:
        """Let nothing through to one service, and close no line."""
        self._holds[name].set()

    def mend_to(self, name: str) -> None:
        """Let everything through again."""
        self._holds[name].clear()

    def close(self) -> None:
        """End its relays."""
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
    """Some hosts.

    Args:
        namespaces: Whether each is a network namespace; else they are addresses of this machine.
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
    """Remove the namespaces and bridges of proofs that were killed: their addresses are those of the next one."""
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
        # two networks with the same addresses: hosts of one got the answers of the other, and both stood still
        raise RuntimeError(
            f"another proof on this machine has the addresses of this one ({others[0]}): wait for its end"
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
    """Within a namespace, carry a port of 127.0.0.1 to other hosts: keys go to no other address over plain http."""
    port, *places = sys.argv[1:]
    targets = [(address, int(far)) for address, _, far in (place.partition(":") for place in places)]
    Relay("127.0.0.1", *targets, held=threading.Event(), port=int(port))
    print("ready", flush=True)
    threading.Event().wait()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


if __name__ == "__main__":
    main()
