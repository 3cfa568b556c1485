"""TLS: a certificate and its key."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from gptsmith.base.errors import ConfigurationError


@dataclass(frozen=True)
class TlsFiles:
    """A certificate, with the chain behind it, and its private key, in PEM form; together they are sound."""

    certificate: Path
    key: Path


def tls_files(certificate: str | Path | None, key: str | Path | None) -> TlsFiles | None:
    """The files that were given, checked; None if none were.

    Raises:
        ConfigurationError: one is missing or cannot be read, they do not belong together, or the key has a password.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing = "--tls-certificate" if certificate is None else "--tls-key"
        raise ConfigurationError(f"TLS needs a certificate and its key: give {missing} FILE too")
    files = TlsFiles(Path(certificate), Path(key))
    for option, path in (("--tls-certificate", files.certificate), ("--tls-key", files.key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise ConfigurationError(f"{option} {path} cannot be read: {error.strerror}") from None
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.certificate, files.key, _no_password)
    except (ssl.SSLError, ValueError):
        raise ConfigurationError(
            f"--tls-certificate {files.certificate} and --tls-key {files.key} are no certificate and its key: both are "
            "PEM files, belong together, and the key has no password"
        ) from None
    return files


def _no_password() -> str:
    raise ValueError("the key has a password")
