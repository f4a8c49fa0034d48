"""Ports: whether one is free, and one that is."""

from __future__ import annotations

import errno
import random
import socket

from amalga.local.processes import Refused

# below the range from which systems take the ports of outgoing connections
FREE_RANGE = range(20_000, 32_000)


def claim(port: int, variable: str) -> None:
    """Raise Refused when something listens on this port already."""
    if not is_free(port):
        raise Refused(f"Port {port} is taken. Set {variable} to another, for example {variable}={port + 1}.")


def is_free(port: int) -> bool:
    """Whether nobody listens on either address: browsers would open a stranger on ::1 instead."""
    return _can_listen(socket.AF_INET, "127.0.0.1", port) and (
        not socket.has_dualstack_ipv6() or _can_listen(socket.AF_INET6, "::1", port)
    )


def free_port() -> int:
    return next(port for port in random.sample(FREE_RANGE, len(FREE_RANGE)) if is_free(port))


def _can_listen(family: socket.AddressFamily, host: str, port: int) -> bool:
    with socket.socket(family) as probe:
        # as the servers do: a connection of an earlier run that is still closing does no harm
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            return error.errno == errno.EADDRNOTAVAIL  # no IPv6 on this machine
    return True
