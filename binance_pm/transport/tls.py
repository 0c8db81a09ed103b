"""Settings for https where the caller gives none."""

from __future__ import annotations

import errno
import os
import ssl
import sys


def tls_settings(*, trust_env: bool = False) -> ssl.SSLContext:
    """Settings that trust whom httpx trusts.

    Args:
        trust_env: whether the environment may name certificates, and a file that the keys of connections are written
            to (``SSLKEYLOGFILE``).

    Raises:
        OSError: the certificates cannot be read.
    """
    # It comes with httpx, and is loaded with the first connection by https.
    import certifi  # noqa: PLC0415

    if trust_env:
        file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
        if folder and not file and not os.path.isdir(folder):  # noqa: PTH112 - it may not be a path at all
            # OpenSSL takes it for an empty one, and every connection would fail.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        if file or folder:
            settings = ssl.create_default_context(cafile=file or None, capath=None if file else folder)
        else:
            settings = ssl.create_default_context(cafile=certifi.where())
    else:
        # What `ssl.create_default_context` does, except that it reads the environment.
        settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if sys.version_info >= (3, 13):
            settings.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
        settings.load_verify_locations(certifi.where())
    settings.set_alpn_protocols(["http/1.1"])
    return settings


def check_protocol(connection: ssl.SSLObject | None) -> None:
    """Refuse a server that wants to speak anything but HTTP/1.1.

    A caller's own `ssl.SSLContext` is used as it is: it may offer HTTP/2, and then the server may choose it.

    Raises:
        ConnectionError: the text names the protocol that was agreed on.
    """
    agreed = connection.selected_alpn_protocol() if connection else None
    if agreed not in {None, "http/1.1", "http/1.0"}:
        raise ConnectionError(f"the server chose {agreed}, which tls offers. Let tls offer http/1.1 or nothing")


def source_of_settings(*, trust_env: bool) -> str:
    """What `tls_settings` reads, for an error."""
    variables = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE") if trust_env else ()
    named = [f"{name} ({place})" for name in variables if (place := os.environ.get(name))]
    return f"what {' and '.join(named)} name{'s' * (len(named) == 1)}" if named else "the list of trusted certificates"
