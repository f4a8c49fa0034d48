"""`python -m uploads.previews.sandbox FUNCTION FILE TYPE FOLDER [PROGRAM]`: draw previews in a process of its own.

It calls a function of `render_image`, which reads FILE and writes pictures, and writes `report.json`, into FOLDER. The
parent does not trust them. The limits are set before any of the file is read.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import resource
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amalga import capacity
from uploads.previews.renderer import OFFICE, RenderError

MIB = 1024**2
MAX_MEMORY_BYTES = 1200 * MIB  # address space; 100 megapixels with transparency fit
MIN_MEMORY_BYTES = 384 * MIB  # less cannot render a photo
# Left to the worker that starts the child, and to the kernel's cache of the files that both read and write.
RESERVED_BYTES = 256 * MIB
MAX_OOM_SCORE = "1000"  # the end of the kernel's range: Documentation/filesystems/proc.rst, 3.1
MAX_CPU_SECONDS = 20
MAX_WRITTEN_BYTES = 16 * MIB
MAX_OPEN_FILES = 64
# LibreOffice: its libraries reserve far more addresses than they use, so its limit counts the memory that it writes to.
OFFICE_ADDRESS_BYTES = 8192 * MIB
OFFICE_CPU_SECONDS = 45
OFFICE_WRITTEN_BYTES = 64 * MIB
OFFICE_OPEN_FILES = 512
# seccomp(2), prctl(2): constants of the kernel, and the numbers of the calls `socket` and `io_uring_setup`
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_ALLOW, SECCOMP_ERRNO = 0x7FFF0000, 0x00050000
X32_CALLS = 0x40000000
AUDIT = {"x86_64": (0xC000003E, 41, 425), "aarch64": (0xC00000B7, 198, 425)}
NICENESS = 10  # web requests have priority over previews


def memory_limit(machine_bytes: int) -> int:
    """Return how many bytes the child may use on a machine, or in a container, with this much memory."""
    return max(MIN_MEMORY_BYTES, min(MAX_MEMORY_BYTES, machine_bytes - RESERVED_BYTES))


def limit(media_type: str = "") -> None:
    """Set the limits of this process. If the machine runs out of memory, the kernel kills it before the worker."""
    with contextlib.suppress(OSError):  # not on every system
        Path("/proc/self/oom_score_adj").write_text(MAX_OOM_SCORE)
    memory_bytes = memory_limit(capacity.memory_limit())
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: MAX_CPU_SECONDS,
        resource.RLIMIT_FSIZE: MAX_WRITTEN_BYTES,
        resource.RLIMIT_NOFILE: MAX_OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    if media_type in OFFICE:
        limits |= {
            resource.RLIMIT_AS: OFFICE_ADDRESS_BYTES,
            resource.RLIMIT_DATA: memory_bytes,
            resource.RLIMIT_CPU: OFFICE_CPU_SECONDS,
            resource.RLIMIT_FSIZE: OFFICE_WRITTEN_BYTES,
            resource.RLIMIT_NOFILE: OFFICE_OPEN_FILES,
        }
    for resource_id, limit_value in limits.items():
        resource.setrlimit(resource_id, (limit_value, limit_value))
    os.nice(NICENESS)
    deny_network()


def deny_network() -> None:
    """Make this process, and those that it starts, unable to open a socket other than a local one.

    It has an effect where the kernel has seccomp: Linux on x86-64 and ARM64. It cannot be undone.
    """
    architecture, socket_call, io_uring_call = AUDIT.get(platform.machine(), (0, 0, 0))
    if sys.platform != "linux" or not architecture:
        return
    load, jump_if_equal, jump_if_over, ret = 0x20, 0x15, 0x35, 0x06  # linux/bpf_common.h
    denied = SECCOMP_ERRNO | errno.EACCES
    program = [  # each: code, steps if true, steps if false, operand; offsets are those of struct seccomp_data
        (load, 0, 0, 4), (jump_if_equal, 0, 7, architecture),
        (load, 0, 0, 0), (jump_if_over, 5, 0, X32_CALLS),
        (jump_if_equal, 4, 0, io_uring_call), (jump_if_equal, 0, 2, socket_call),
        (load, 0, 0, 16), (jump_if_equal, 0, 1, socket.AF_UNIX),
        (ret, 0, 0, SECCOMP_ALLOW), (ret, 0, 0, denied),
    ]  # fmt: skip
    packed = b"".join(struct.pack("HBBI", *step) for step in program)
    filters = ctypes.create_string_buffer(packed, len(packed))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(filters)))
    prctl = ctypes.CDLL(None).prctl
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header)


def write_report(folder: Path, work: Callable[[], dict[str, Any]]) -> None:
    """Do the work and write its report, or the reason why it failed, for the parent."""
    try:
        report = work()
    except RenderError as error:
        report = {"reason": error.reason}
    except MemoryError:
        report = {"reason": "too_large"}
    save_report(folder, report)


def save_report(folder: Path, report: dict[str, Any]) -> None:
    """Write the report, or replace it at once: this process may be killed at any time."""
    unfinished = folder / "unfinished.json"
    unfinished.write_text(json.dumps(report))
    unfinished.replace(folder / "report.json")


def main(function: str, file: str, media_type: str, folder: str, program: str = "") -> None:
    limit(media_type)
    from uploads.previews import render_image  # imports the decoders, after the limits are set

    work, target = {"draw": render_image.draw, "draw_pages": render_image.draw_pages}[function], Path(folder)
    write_report(target, lambda: work(Path(file), media_type, target, program=program))


if __name__ == "__main__":
    main(*sys.argv[1:])
