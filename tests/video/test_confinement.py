"""What a decoder that an attacker controls can reach on this machine, layer by layer, as far as the kernel offers the layers."""

import ctypes
import json
import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from resources.video import confinement, guarded_workers
from resources.video.confinement import LANDLOCK, LAYERS, NO_NETWORK, NO_NEW_PRIVILEGES, SECCOMP
from resources.video.inspector import VideoInspector

pytestmark = pytest.mark.slow

CHILD = """
import ctypes, json, os, resource, socket, sys
from resources.video import confinement

layers = json.loads(sys.argv[1])
confinement.LAYERS = tuple(layers)
held = confinement.confine()
libc = ctypes.CDLL(None, use_errno=True)
parent, mine = os.getppid(), ctypes.create_string_buffer(b"mine")

def tried(act):
    try:
        act()
    except OSError as error:
        return error.strerror
    return "done"

def called(name, *arguments):
    def act():
        if getattr(libc, name)(*arguments) == -1:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return act

def forked():
    if os.fork() == 0:
        os._exit(0)
    os.wait()

def connected():
    with socket.socket() as asked:
        asked.settimeout(2)
        asked.connect(("127.0.0.1", int(sys.argv[2])))

class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

local = Vector(ctypes.addressof(mine), 4)
remote = Vector(int(sys.argv[3]), 4)
acts = {
    "environment": lambda: open(f"/proc/{parent}/environ", "rb").read(),
    "read": lambda: open(sys.argv[4], "rb").read(),
    "write": lambda: open(sys.argv[4] + ".new", "wb").write(b"x"),
    "connect": connected,
    "socket": socket.socket,
    "fork": forked,
    "memory": called("process_vm_readv", parent, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0),
    "ptrace": called("ptrace", 0x4206, parent, 0, 0),
    "signal": lambda: os.kill(parent, 0),
    "limits": lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE),
    "list": lambda: os.listdir("/proc"),
    "remove": lambda: os.unlink(sys.argv[4]),
}
if {"Landlock", "seccomp"} & set(layers):
    acts["exec"] = lambda: os.execv("/bin/true", ["true"])
print(json.dumps({"held": held, **{name: tried(act) for name, act in acts.items()}}))
"""


class Listening:
    """This process as a victim: a secret in its environment and memory, and a port on 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        import socket

        self.secret = ctypes.create_string_buffer(b"canary")
        self.file = folder / "secret.txt"
        self.file.write_text("canary")
        self.port = socket.create_server(("127.0.0.1", 0))

    def tried(self, *layers: str) -> dict[str, str]:
        """The result of each act in a child that is confined by these layers."""
        ran = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(CHILD), json.dumps(layers), str(self.port.getsockname()[1]), str(ctypes.addressof(self.secret)), str(self.file)],
            capture_output=True,
            text=True,
            timeout=300,
            env=guarded_workers._environment(),
            check=False,
        )  # fmt: skip
        assert ran.stdout, ran.stderr
        said: dict[str, str] = json.loads(ran.stdout)
        missing = set(layers) - set(said.pop("held"))
        if missing:
            pytest.skip(f"this kernel or container does not offer: {', '.join(sorted(missing))}")
        return said


@pytest.fixture
def victim(tmp_path: Path) -> Listening:
    return Listening(tmp_path)


REACHED = ("environment", "read", "write", "connect", "socket", "fork", "memory", "ptrace", "signal", "limits", "list", "remove")  # fmt: skip


def test_the_acts_are_possible_without_a_layer(victim: Listening) -> None:
    """The control: only the layers refuse the acts below."""
    said = victim.tried()
    assert {said[act] for act in ("environment", "read", "write", "connect", "socket", "fork", "signal", "list", "remove")} == {"done"}  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "refused"),
    [
        (LANDLOCK, ("environment", "read", "write", "list", "remove", "exec")),
        (NO_NETWORK, ("connect",)),
        (SECCOMP, (*REACHED, "exec")),
    ],
)
def test_each_layer_refuses_its_acts_by_itself(
    victim: Listening, layer: str, refused: tuple[str, ...]
) -> None:
    said = victim.tried(NO_NEW_PRIVILEGES, layer)
    assert {act: said[act] for act in refused if said.get(act) == "done"} == {}
    assert layer == NO_NETWORK or victim.file.read_text() == "canary"
    assert layer == NO_NETWORK or not victim.file.with_name("secret.txt.new").exists()


def test_all_layers_together_refuse_every_act(victim: Listening) -> None:
    said = victim.tried(*LAYERS)
    assert {act for act in (*REACHED, "exec") if said.get(act) == "done"} == set()


def test_a_worker_uses_every_offered_layer_and_still_inspects_clips(clip: Path) -> None:
    with VideoInspector() as looking:
        found = looking.inspect(clip)
        layers = looking.confinement()
        (pid,) = looking.pids
        status = Path(f"/proc/{pid}/status")
        if not status.exists():
            pytest.skip("this system has no /proc")
        said = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        assert (said["NoNewPrivs"] == "1") is (NO_NEW_PRIVILEGES in layers)
        assert (said["Seccomp"] == "2") is (SECCOMP in layers)
        away = Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        assert away is (NO_NETWORK in layers)
        opened = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
        assert str(clip) not in opened
    assert found.poster_webp is not None


def test_a_missing_layer_does_not_disable_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old kernel, or a container that forbids a layer: nothing raises, and the layer is not reported as active."""

    class Refusing:
        def __getattr__(self, name: str) -> "Refusing":
            return self

        def __call__(self, *_: object) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Refusing())
    assert confinement.confine() == []
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert confinement._make_few_calls(ctypes.CDLL(None)) is False


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_decides_about_every_call(machine: str) -> None:
    """The filter program itself, interpreted here, also for other architectures."""
    import struct

    program = [struct.unpack("HBBI", confinement._program(machine)[at : at + 8]) for at in range(0, len(confinement._program(machine)), 8)]  # fmt: skip
    arch = confinement._ARCHITECTURES[machine]
    column = list(confinement._ARCHITECTURES).index(machine)

    def verdict(number: int, *arguments: int, architecture: int = arch) -> int:
        data = struct.pack("iIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
        accumulator: int
        value: int
        at, accumulator = 0, 0
        while True:
            code, yes, no, value = program[at]
            at += 1
            if code == 0x20:
                accumulator = struct.unpack_from("I", data, value)[0]
            elif code == 0x06:
                return value
            else:
                holds = accumulator == value if code == 0x15 else bool(accumulator & value)
                at += yes if holds else no

    allow, refuse, unknown = 0x7FFF_0000, 0x0005_0001, 0x0005_0026
    numbers = {name: both[column] for name, both in confinement._CALLS.items()}
    assert {verdict(number) for number in numbers.values()} == {allow}
    assert {verdict(number, architecture=0x4000_0003) for number in numbers.values()} == {refuse}
    special = {name: both[column] for group in (confinement._OF_ITSELF, confinement._ITS_OWN_SIGNALS, confinement._OF_AN_OPEN_FILE, confinement._OF_A_THREAD, confinement._UNKNOWN) for name, both in group.items()}  # fmt: skip
    assert verdict(special["prlimit64"], 0) == allow
    assert verdict(special["prlimit64"], 1) == refuse
    assert verdict(special["tgkill"], os.getpid()) == allow
    assert verdict(special["tgkill"], os.getppid()) == refuse
    assert verdict(special["newfstatat"], 3, 0, 0, 0x1000) == allow
    assert verdict(special["newfstatat"], 3, 0, 0, 0) == refuse
    assert verdict(special["clone"], 0x1_0000) == allow
    assert verdict(special["clone"], 17) == refuse
    assert verdict(special["clone3"]) == unknown
    others = set(range(500)) - set(numbers.values()) - set(special.values())
    assert {verdict(number) for number in others} == {refuse}
    assert verdict(0x4000_0000 | numbers["read"]) == refuse, "x32's numbers are others"
