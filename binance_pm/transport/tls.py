"""Default TLS settings for https."""

from __future__ import annotations

import errno
import os
import ssl
import sys
from typing import Literal, Protocol


class Secured(Protocol):
    """A connection after its TLS handshake."""

    def selected_alpn_protocol(self) -> str | None:
        """Return the negotiated protocol."""
        ...

    def getpeercert(self, binary_form: Literal[True]) -> bytes | None:
        """Return the server's certificate."""
        ...


def tls_settings(*, trust_env: bool = False) -> ssl.SSLContext:
    """Return settings that trust the same certificate authorities as httpx.

    Args:
        trust_env: whether the environment may name certificates, and a file to which the TLS keys are written
            (``SSLKEYLOGFILE``).

    Raises:
        OSError: the certificates cannot be read.
    """
    import certifi  # noqa: PLC0415 - a dependency of httpx, which only https connections need

    if trust_env:
        file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
        if folder and not file and not os.path.isdir(folder):  # noqa: PTH112 - the value may not be a path at all
            # OpenSSL would treat the folder as empty, and every connection would fail.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        if file or folder:
            settings = ssl.create_default_context(cafile=file or None, capath=None if file else folder)
        else:
            settings = ssl.create_default_context(cafile=certifi.where())
    else:
        # Like `ssl.create_default_context`, but without reading the environment.
        settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if sys.version_info >= (3, 13):
            settings.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
        settings.load_verify_locations(certifi.where())
    settings.set_alpn_protocols(["http/1.1"])
    return settings


def check_protocol(connection: Secured | None) -> None:
    """Reject a server that negotiates anything but HTTP/1.1.

    A caller's own `ssl.SSLContext` is used unchanged: if it offers HTTP/2, the server may choose HTTP/2.

    Raises:
        ConnectionError: the text names the negotiated protocol.
    """
    agreed = connection.selected_alpn_protocol() if connection else None
    if agreed not in {None, "http/1.1", "http/1.0"}:
        raise ConnectionError(f"the server chose {agreed}, which tls offers. Let tls offer http/1.1 or nothing")


def source_of_settings(*, trust_env: bool) -> str:
    """Return what `tls_settings` reads, for an error text."""
    variables = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE") if trust_env else ()
    named = [f"{name} ({place})" for name in variables if (place := os.environ.get(name))]
    return f"what {' and '.join(named)} name{'s' * (len(named) == 1)}" if named else "the list of trusted certificates"
