"""Which user of this machine is at the other end of a connection, where the system tells: Linux does."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# https://docs.kernel.org/networking/proc_net_tcp.html. A socket of IPv6 may connect to an address of IPv4.
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LOOPBACK = "0100007F"
_ROOT = 0
_USER = os.getuid() if hasattr(os, "getuid") else _ROOT


def is_held_by_another_user(remote_port: str | None, port: int) -> bool:
    """False where nobody can tell, and for root, whose browser is run by somebody else.

    Root itself is let in: it may do everything anyway, and forwards ports, such as from Windows to WSL.
    """
    if remote_port is None or _USER == _ROOT:
        return False
    owners = set(_find_owners(int(remote_port), port))
    return bool(owners) and owners.isdisjoint({_USER, _ROOT})


def _find_owners(remote_port: int, port: int) -> Iterator[int]:
    ends = f"{_LOOPBACK}:{remote_port:04X}", f"{_LOOPBACK}:{port:04X}"
    for table in _TABLES:
        with suppress(OSError):
            for row in table.read_text().splitlines()[1:]:
                _, local, remote, _, _, _, _, owner, *_ = row.split()
                if (local[-13:], remote[-13:]) == ends:
                    yield int(owner)
