"""Who listens where: what Linux says of the sockets of a process and those that it started."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import psutil

LOOPBACK = {"127.0.0.1", "::1"}
LISTENING = "0A"


def _address(text: str) -> tuple[str, int]:
    """Return address and port as ``/proc/net/tcp`` writes them: words in the machine's order."""
    words, port = text.split(":")
    raw = b"".join(bytes.fromhex(words[i : i + 8])[::-1] for i in range(0, len(words), 8))
    family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, raw), int(port, 16)


def _inodes(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def listening(pids: set[int] | None = None) -> set[tuple[str, int]]:
    """Return the addresses on which processes listen; this one and its children when none are named."""
    if pids is None:
        own = psutil.Process()
        pids = {own.pid, *(child.pid for child in own.children(recursive=True))}
    inodes = set().union(*map(_inodes, pids))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and fields[9] in inodes:
                found.add(_address(fields[1]))
    return found


def speaks_tls(address: tuple[str, int]) -> bool:
    """Say whether a port asks for TLS: one that speaks in clear does not get through a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host = "127.0.0.1" if address[0] in {"0.0.0.0", "::"} else address[0]
    try:
        with (
            socket.create_connection((host, address[1]), timeout=20) as plain,
            context.wrap_socket(plain) as wrapped,
        ):
            return wrapped.version() is not None
    except (ssl.SSLError, ConnectionError):
        return False


def greets(port: int, ca: str, shown: tuple[str, str] | None = None) -> bool:
    """Say whether Dask greets who knows the authority and shows a certificate with its key, or none."""
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    if shown is not None:
        context.load_cert_chain(*shown)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            context.wrap_socket(plain) as wrapped,
        ):
            return bool(wrapped.recv(1))
    except (ssl.SSLError, ConnectionError):
        return False


def in_clear_beyond_the_loopback(pids: set[int] | None = None) -> set[tuple[str, int]]:
    """Return what should not be there: listening beyond the loopback without TLS."""
    return {a for a in listening(pids) if a[0] not in LOOPBACK and not speaks_tls(a)}
