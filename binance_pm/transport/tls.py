"""Settings for https where the caller gives none."""

from __future__ import annotations

import errno
import os
import ssl
import sys
from pathlib import Path


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
        if folder and not file and not Path(folder).is_dir():
            # OpenSSL takes it for an empty one, and every connection would fail.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        if file or folder:
            return ssl.create_default_context(cafile=file or None, capath=None if file else folder)
        return ssl.create_default_context(cafile=certifi.where())
    # What `ssl.create_default_context` does, which asks the environment.
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if sys.version_info >= (3, 13):
        settings.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    settings.load_verify_locations(certifi.where())
    return settings


def source_of_settings(*, trust_env: bool) -> str:
    """What `tls_settings` reads, for an error."""
    variables = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE") if trust_env else ()
    named = [f"{name} ({place})" for name in variables if (place := os.environ.get(name))]
    return f"what {' and '.join(named)} name{'s' * (len(named) == 1)}" if named else "the list of trusted certificates"
