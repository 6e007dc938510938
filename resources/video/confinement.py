"""Rights that the worker for strangers' bytes gives up after its start, as far as the kernel supports it.

Containers and old kernels offer only some of the layers, so each is tried alone; none can be undone. A decoder that an attacker
controls keeps its memory, the file it was given and the pipe of its answer. `docs/delivery.md` lists what holds where.
"""

import ctypes
import os
import platform
import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NO_NEW_PRIVILEGES, NO_NETWORK, LANDLOCK, SECCOMP = "no new privileges", "no network", "Landlock", "seccomp"
LAYERS = (NO_NETWORK, NO_NEW_PRIVILEGES, LANDLOCK, SECCOMP)
"""The layers, in the order in which they are applied."""

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_FILE_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}
"""All rights on files that Landlock knows, by its version; 0xFFFF from the fifth (Linux docs: userspace-api/landlock)."""

_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x1_0000
_AT_EMPTY_PATH = 0x1000
_ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
# the calls that a decoder and Python need for memory, clocks, signals, an open file and an open socket (x86_64, aarch64)
_CALLS = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup": (32, 23),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "recvmsg": (47, 212),
    "exit": (60, 93),
    "uname": (63, 160),
    "fcntl": (72, 25),
    "gettimeofday": (96, 169),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "sigaltstack": (131, 132),
    "setrlimit": (160, 164),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "set_robust_list": (273, 99),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "rseq": (334, 293),
}
_OF_ITSELF = {"prlimit64": (302, 261)}
"""Allowed for the process 0, which is the caller."""
_ITS_OWN_SIGNALS = {"tgkill": (234, 131)}
_OF_AN_OPEN_FILE = {"newfstatat": (262, 79)}
_OF_A_THREAD = {"clone": (56, 220)}
"""Threads are allowed, because they scale pictures; processes are refused."""
_UNKNOWN = {"clone3": (435, 435)}
"""Reported as missing: a filter cannot read its arguments, and libc then uses `clone`."""


def confine() -> list[str]:
    """Give up, for good, every right that the worker does not need. Call it when everything is imported and open.

    Returns:
        The layers that hold, of `LAYERS`.
    """
    if sys.platform != "linux":
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    layers: dict[str, Callable[[ctypes.CDLL], bool]] = {
        NO_NETWORK: _leave_the_network,
        NO_NEW_PRIVILEGES: lambda libc: libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0,
        LANDLOCK: _open_no_file,
        SECCOMP: _make_few_calls,
    }
    return [name for name in LAYERS if layers[name](libc)]


def _leave_the_network(libc: ctypes.CDLL) -> bool:
    """An empty network namespace. A user other than root needs a user namespace for it; root keeps its own."""
    if os.geteuid() == 0 and libc.unshare(_CLONE_NEWNET) == 0:
        return True
    return bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)


def _open_no_file(libc: ctypes.CDLL) -> bool:
    """Landlock without any rule: no file can be opened, made or removed, no TCP port used, and no other process inspected."""
    call = libc.syscall
    call.restype = ctypes.c_long
    version = call(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rights = _FILE_RIGHTS.get(version, 0xFFFF)
    # only fields that this kernel knows: files, TCP from version 4, sockets and signals from version 6
    fields = [rights, 0b11, 0b11][: 3 if version >= 6 else 2 if version >= 4 else 1]
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    rules = call(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return False
    try:
        return bool(call(_LANDLOCK_RESTRICT, ctypes.c_int(rules), 0) == 0)
    finally:
        os.close(rules)


def _make_few_calls(libc: ctypes.CDLL) -> bool:
    """A seccomp filter that allows only `_CALLS`. Every other call fails as not permitted, so that Python can report it."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES or sys.byteorder != "little":
        return False
    program = _program(machine)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    # libc's own function, not `syscall`: an argument must be as wide as a pointer
    filtered = Program(len(program) // 8, program)
    return bool(libc.prctl(_PR_SET_SECCOMP, 2, ctypes.byref(filtered), 0, 0) == 0)


def _program(machine: str) -> bytes:
    """The filter as classic BPF: every rule ends in a verdict, so that no jump is longer than the rule."""
    column = list(_ARCHITECTURES).index(machine)
    load, equal, has_bits, verdict = 0x20, 0x15, 0x45, 0x06
    allow, refuse = 0x7FFF_0000, 0x0005_0000 | _EPERM

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    def argument(number: int) -> int:
        return 16 + 8 * number

    steps = [step(load, 4), step(equal, _ARCHITECTURES[machine], 1, 0), step(verdict, refuse), step(load, 0)]
    for numbers in _CALLS.values():
        steps += [step(equal, numbers[column], 0, 1), step(verdict, allow)]
    for numbers in _UNKNOWN.values():
        steps += [step(equal, numbers[column], 0, 1), step(verdict, 0x0005_0000 | _ENOSYS)]
    special = [
        (_OF_ITSELF, equal, 0, 0),
        (_ITS_OWN_SIGNALS, equal, 0, os.getpid()),
        (_OF_AN_OPEN_FILE, has_bits, 3, _AT_EMPTY_PATH),
        (_OF_A_THREAD, has_bits, 0, _CLONE_THREAD),
    ]
    for calls, test, number, value in special:
        for numbers in calls.values():
            steps += [
                step(equal, numbers[column], 0, 4),
                step(load, argument(number)),
                step(test, value, 0, 1),
                step(verdict, allow),
                step(verdict, refuse),
            ]
    return b"".join([*steps, step(verdict, refuse)])
