"""Certificates of Dask's connections: those that are given, or some made for one run.

Stands outside the equations of ``docs/algorithm.md``. Whatever listens beyond the loopback is
encrypted, and speaks only to those who show a certificate of the same authority.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mixedflow.errors import ConfigError, UnsupportedError


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM.

    Attributes
    ----------
    ca : of the authority that signed the certificates
    cert : certificate that is shown
    key : its private key
    """

    ca: str
    cert: str
    key: str


def security_of(tls: Tls) -> Any:
    """Return Dask's settings in which every connection is encrypted with these files.

    Raises
    ------
    ConfigError
        when a file cannot be read
    """
    from distributed.security import Security

    for field in fields(tls):
        path = getattr(tls, field.name)
        if not os.access(path, os.R_OK):
            raise ConfigError(f"the file '{path}', tls.{field.name}, cannot be read")
    roles = ("client", "scheduler", "worker")
    certificates = {f"tls_{role}_cert": tls.cert for role in roles}
    keys = {f"tls_{role}_key": tls.key for role in roles}
    return Security(  # type: ignore[no-untyped-call]
        require_encryption=True, tls_ca_file=tls.ca, **certificates, **keys
    )


@contextmanager
def private_folder() -> Iterator[Path]:
    """Give a folder beside the work that other nodes see and other users do not."""
    whose = f".mixedflow-{socket.gethostname()}-{os.getpid()}-"  # for who finds it after a kill -9
    with tempfile.TemporaryDirectory(
        prefix=whose, dir=Path.cwd(), ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def own_tls(folder: Path) -> Tls:
    """Return certificates made now, written into a private folder.

    Raises
    ------
    UnsupportedError
        without the package ``cryptography``
    """
    from distributed.security import Security

    try:
        made = Security.temporary()  # type: ignore[no-untyped-call]
    except ImportError as error:
        raise UnsupportedError(
            "certificates for workers on other nodes need the package 'cryptography': "
            "pip install 'mixedflow[hpc]'"
        ) from error
    texts = {
        "ca": made.tls_ca_file,
        "cert": made.tls_scheduler_cert,
        "key": made.tls_scheduler_key,
    }
    for name, text in texts.items():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(folder / f"{name}.pem", flags, 0o600), "w") as file:
            file.write(text)
    return tls_in(folder)


def tls_in(folder: Path) -> Tls:
    """Return the certificates that were made in a folder."""
    return Tls(*(str(folder / f"{field.name}.pem") for field in fields(Tls)))
