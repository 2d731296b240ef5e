"""Certificates for a scheduler at a ``tls://`` address: where they come from, and which end refuses which.

    study's [workers.tls], or Dask's own configuration  ──> Security ──probe: one handshake, one byte──> words, or nothing

Dask tells of every TLS trouble as a closed connection. The probe shakes hands itself, with the very context that Dask will use,
so that the refusal names the file that is at fault.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nwidth.errors import ConfigError

if TYPE_CHECKING:
    from nwidth.config import TlsSection

PROBE_SECONDS = 10.0


def security_of(address: str, tls: TlsSection | None, folder: Path) -> Any:
    """The `distributed.Security` for an address; None for one without TLS.

    Raises
    ------
    ConfigError
        A ``tls://`` address without certificates, certificates for another address, or a file that cannot be used.
    """
    from distributed.security import Security

    if not address.startswith("tls://"):
        if tls is not None:
            raise ConfigError(
                f"workers.address = {address!r} is not encrypted, and there is [workers.tls]; write tls://, or remove the table"
            )
        return None
    security = Security(require_encryption=True) if tls is None else _of_files(tls, folder)
    try:
        context = security.get_connection_args("client")["ssl_context"]
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificates for {address!r} cannot be used: {error}; give certificate and key of one pair, "
            "in PEM, that you may read"
        ) from None
    if context is None:
        raise ConfigError(
            f"workers.address = {address!r} needs certificates; give [workers.tls] with ca, certificate and key, or set "
            "distributed.comm.tls in Dask's configuration"
        )
    return security


def _of_files(tls: TlsSection, folder: Path) -> Any:
    files = {name: folder / text for name, text in tls.model_dump().items()}
    for name, file in files.items():
        if not file.is_file():
            raise ConfigError(f"there is no file workers.tls.{name} = {str(file)!r}; paths start at the study's folder")
    return _security(files)


def _security(files: Mapping[str, Path]) -> Any:
    from distributed.security import Security

    pair = {
        f"tls_{role}_{part}": str(files[name])
        for role in ("client", "scheduler", "worker")
        for part, name in (("cert", "certificate"), ("key", "key"))
    }
    return Security(tls_ca_file=str(files["ca"]), require_encryption=True, **pair)


def check_handshake(address: str, security: Any) -> None:
    """Shake hands with the scheduler once; a connection that is not even made is left to Dask, which tries again for a while.

    Raises
    ------
    ConfigError
        One end does not trust the other, or the scheduler does not speak TLS; says which, and which file to change.
    """
    place = urlsplit(address)
    context = security.get_connection_args("client")["ssl_context"]
    try:
        with socket.create_connection((place.hostname or "", place.port or 0), timeout=PROBE_SECONDS) as plain:
            _handshake(plain, context, address, security)
    except OSError:
        return


def _handshake(plain: socket.socket, context: ssl.SSLContext, address: str, security: Any) -> None:
    try:
        with context.wrap_socket(plain) as encrypted:
            # With TLS 1.3 the other end's opinion of our certificate arrives after the handshake, with its first byte.
            encrypted.recv(1)
    except ssl.SSLCertVerificationError as error:
        raise ConfigError(
            f"the certificate of the scheduler at {address!r} is not accepted: {error.verify_message}; "
            f"its authority should be the one in {security.tls_ca_file!r}"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "WRONG_VERSION_NUMBER":
            raise ConfigError(
                f"the scheduler at {address!r} does not speak TLS; start it with --tls-ca-file, --tls-cert and "
                "--tls-key, or write tcp://..."
            ) from None
        raise ConfigError(
            f"the scheduler at {address!r} does not accept our certificate {security.tls_client_cert!r}: {_words(error)}; give "
            "one that is signed by the scheduler's authority"
        ) from None


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "refused").lower().replace("_", " ")


@contextmanager
def temporary_security(folder: Path) -> Iterator[Any]:
    """Certificates for one run, as files that jobs of the same user read from a shared folder; they go with the block.

    What a killed process leaves is a hidden scratch folder, which the study's next run sweeps: keys to a scheduler that is gone.

    Raises
    ------
    ConfigError
        The package cryptography, which makes them, is missing.
    """
    from distributed.security import Security

    try:
        made = Security.temporary()
    except ImportError:
        raise ConfigError(
            "workers.slurm.encrypt needs the package cryptography; pip install cryptography, or, on a network that is yours "
            "alone, set encrypt = false"
        ) from None
    place = folder / f".scratch-tls-{uuid.uuid4().hex[:8]}"
    place.mkdir(mode=0o700, parents=True)
    try:
        files = {name: place / f"{name}.pem" for name in ("ca", "certificate", "key")}
        for name, text in (("ca", made.tls_ca_file), ("certificate", made.tls_client_cert), ("key", made.tls_client_key)):
            files[name].touch(mode=0o600)
            files[name].write_text(text, encoding="ascii")
        yield _security(files)
    finally:
        shutil.rmtree(place, ignore_errors=True)
