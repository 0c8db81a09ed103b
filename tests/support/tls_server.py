"""TLS and a proxy in front of a server on a loopback socket, with certificates made for the purpose."""

from __future__ import annotations

import ipaddress
import select
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from tests.support.raw_server import Behaviour, read_request


def make_certificate(folder: Path, *, host: str = "127.0.0.1", issuer: str = "Test House", days: float = 90) -> Path:
    """A certificate that signs itself, and its key, in one file of PEM.

    Args:
        folder: where it is put.
        host: name or address that it is for.
        issuer: the organisation that it says to be from.
        days: for which it is valid from now on; negative where it has expired.
    """
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, issuer)])
    now = datetime.now(UTC)
    try:
        whom: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        whom = x509.DNSName(host)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([whom]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = folder / f"{host}-{days:g}.pem"
    path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem))
    return path


def encrypting(url: str, certificate: Path) -> Behaviour:
    """Speak TLS, and pass everything on to a server that does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def behave(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as outside, _connected(url) as inside:
            pump(outside, inside)

    return behave


def tunnelling(url: str, heads: list[bytes]) -> Behaviour:
    """Be a proxy that opens a tunnel, whatever place it is asked for, and note what it is asked."""

    def behave(connection: socket.socket) -> None:
        heads.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with _connected(url) as inside:
            pump(connection, inside)

    return behave


def _connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=5)


def pump(one: socket.socket, other: socket.socket) -> None:
    """Pass on what comes until one of them closes."""
    while ready := select.select([one, other], [], [], 20)[0]:
        for source in ready:
            if not (piece := source.recv(65536)):
                return
            (other if source is one else one).sendall(piece)
