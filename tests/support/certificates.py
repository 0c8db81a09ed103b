"""Certificates for servers and clients on this machine."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)

_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Signs certificates; a client with its context trusts the authority."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("authority")
        self._certificate = self._signed(_builder(self._name, self._key), is_authority=True)
        self.file = directory / "authority.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def client(self, certificate: Path | None = None) -> ssl.SSLContext:
        """Settings of a client that trusts this authority, optionally with a client certificate."""
        context = ssl.create_default_context(cadata=self._certificate.public_bytes(serialization.Encoding.DER))
        if certificate is not None:
            context.load_cert_chain(certificate)
        return context

    def server(self, certificate: Path, *, asks_client: bool = False) -> ssl.SSLContext:
        """Settings of a server with the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        if asks_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self._certificate.public_bytes(serialization.Encoding.DER))
        return context

    def issue(self, name: str = "127.0.0.1", *, expired: bool = False) -> Path:
        """Return a file with a certificate for an address or a host name, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_named(name), key, days=-1 if expired else 1).add_extension(_for(name), critical=False)
        return _written(self._directory, name, key, self._signed(builder, is_authority=False))

    def _signed(self, builder: x509.CertificateBuilder, *, is_authority: bool) -> x509.Certificate:
        constraints = x509.BasicConstraints(ca=is_authority, path_length=None)
        builder = builder.issuer_name(self._name).add_extension(constraints, critical=True)
        # Python 3.13 and later require these extensions.
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        if is_authority:
            builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
        return builder.sign(self._key, hashes.SHA256())


def make_certificate(folder: Path, *, host: str = "127.0.0.1", issuer: str = "Test House", days: float = 90) -> Path:
    """Return a file with a self-signed certificate and its key.

    Args:
        folder: the folder of the file.
        host: the address or host name of the certificate.
        issuer: the organisation in the certificate.
        days: how long the certificate is still valid; negative if it has expired.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_named(issuer), key, days=days).add_extension(_for(host), critical=False)
    return _written(folder, host, key, builder.issuer_name(_named(issuer)).sign(key, hashes.SHA256()))


def fingerprint(file: Path) -> str:
    """SHA-256 of the certificate in the file, in the format of a pin."""
    return x509.load_pem_x509_certificate(file.read_bytes()).fingerprint(hashes.SHA256()).hex(":").upper()


def _written(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Path:
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    file = folder / f"{name}-{certificate.serial_number}.pem"
    file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + certificate.public_bytes(pem))
    return file


def _for(name: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name) if name[0].isalpha() else x509.IPAddress(ip_address(name))])


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])


def _builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: float = 1) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 400 * _DAY)
        .not_valid_after(now + days * _DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
