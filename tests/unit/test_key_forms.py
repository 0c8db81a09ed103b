"""A key in another form works or is refused by name; none gives wrong signatures."""

from __future__ import annotations

import base64
import codecs
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from binance_pm import Client, ConfigurationError
from binance_pm.signing import signer

API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
PASSPHRASE = b"correct-horse-battery"
PAYLOAD = b"symbol=BTCUSDT&timestamp=1499827319559"

ED25519 = Ed25519PrivateKey.generate()
RSA = generate_rsa_key(public_exponent=65537, key_size=2048)
KEYS = {"ed25519": ED25519, "rsa": RSA}

Pem = Callable[[str], "str | bytes"]


def pem_of(
    key: Any,
    form: PrivateFormat = PrivateFormat.PKCS8,
    passphrase: bytes | None = None,
    encoding: Encoding = Encoding.PEM,
) -> bytes:
    """Return the key as PEM."""
    return key.private_bytes(encoding, form, BestAvailableEncryption(passphrase) if passphrase else NoEncryption())


def body_of(pem: str) -> str:
    """Return what stands between the first and the last line."""
    return "\n".join(pem.splitlines()[1:-1])


def report_of(error: BaseException) -> str:
    """Return everything that the error shows, except the lines of this test."""
    return "".join(traceback.format_exception_only(error)) + repr(error.__cause__) + repr(error.__context__)


def key_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    """Write a file with the given content and permissions."""
    path = folder / "key.pem"
    path.write_bytes(content)
    path.chmod(mode)
    return path


posix = pytest.mark.skipif(os.name != "posix", reason="files as POSIX has them")

# What variables, files and editors do to a PEM.
HARMLESS: dict[str, Pem] = {
    "as it is": str,
    "literal line ends": lambda pem: pem.replace("\n", "\\n"),
    "literal Windows line ends": lambda pem: pem.replace("\n", "\\r\\n"),
    "Windows line ends": lambda pem: pem.replace("\n", "\r\n"),
    "old Macintosh line ends": lambda pem: pem.replace("\n", "\r"),
    "BOM": lambda pem: f"\ufeff{pem}",
    "BOM as bytes": lambda pem: codecs.BOM_UTF8 + pem.encode(),
    "UTF-16 of Windows": lambda pem: codecs.BOM_UTF16_LE + pem.encode("utf-16-le"),
    "UTF-16": lambda pem: codecs.BOM_UTF16_BE + pem.encode("utf-16-be"),
    "a comment above": lambda pem: f"# key of desk 1\n{pem}",
    "a comment below": lambda pem: f"{pem}# end",
    "Bag Attributes": lambda pem: f"Bag Attributes\n    friendlyName: desk é\nKey Attributes: <No Attributes>\n{pem}",
    "indented": lambda pem: "".join(f"    {line}\n" for line in pem.splitlines()),
    "trailing spaces": lambda pem: "".join(f"{line} \t\n" for line in pem.splitlines()),
    "empty lines between": lambda pem: pem.replace("\n", "\n\n"),
    "joined by spaces": lambda pem: " ".join(pem.splitlines()),
    "joined": lambda pem: "".join(pem.splitlines()),
    "in quotes": lambda pem: f'"{pem}"',
    "in quotes, literal line ends": lambda pem: "'" + pem.replace("\n", "\\n") + "'",
    "public key behind it": lambda pem: pem + public_of(ED25519, Encoding.PEM).decode(),
    "bytes": str.encode,
}


def public_of(key: Ed25519PrivateKey | RSAPrivateKey, encoding: Encoding) -> bytes:
    """Return the half that the exchange holds."""
    return key.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["plain", "encrypted"])
def test_a_reformatted_pem_works(key: Ed25519PrivateKey | RSAPrivateKey, change: Pem, passphrase: bytes | None) -> None:
    """Text around or between its lines changes no signature."""
    expected = signer(pem_of(key))(PAYLOAD)
    pem = pem_of(key, passphrase=passphrase).decode()

    assert signer(change(pem), passphrase=passphrase)(PAYLOAD) == expected


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_a_reformatted_pem_file_works(change: Pem, tmp_path: Path) -> None:
    """The same holds for a file."""
    text = change(pem_of(ED25519).decode())
    path = key_file(tmp_path, text if isinstance(text, bytes) else text.encode())

    assert signer(path)(PAYLOAD) == signer(pem_of(ED25519))(PAYLOAD)


@pytest.mark.parametrize(
    ("key", "form", "passphrase"),
    [
        (RSA, PrivateFormat.TraditionalOpenSSL, None),
        (RSA, PrivateFormat.TraditionalOpenSSL, PASSPHRASE),
        (RSA, PrivateFormat.OpenSSH, None),
        (ED25519, PrivateFormat.OpenSSH, None),
    ],
    ids=["PKCS#1", "PKCS#1 encrypted", "OpenSSH RSA", "OpenSSH Ed25519"],
)
@pytest.mark.parametrize("name", ["as it is", "BOM", "literal line ends", "indented", "Windows line ends"])
def test_other_containers_work(key: Any, form: PrivateFormat, passphrase: bytes | None, name: str) -> None:
    """Older tools and ssh-keygen write the same keys in other formats."""
    pem = HARMLESS[name](pem_of(key, form, passphrase).decode())

    assert signer(pem, passphrase=passphrase)(PAYLOAD) == signer(pem_of(key))(PAYLOAD)


# Each of them was once used as an HMAC secret, or refused with an unhelpful error.


# Each of them was once used as an HMAC secret, or refused with an unhelpful error.
MISTAKES: dict[str, Pem] = {
    "body alone": body_of,
    "body on one line": lambda pem: body_of(pem).replace("\n", ""),
    "body with literal line ends": lambda pem: body_of(pem).replace("\n", "\\n"),
    "body in quotes": lambda pem: f'"{body_of(pem)}"',
    "body without padding": lambda pem: body_of(pem).rstrip("="),
    "body, cut": lambda pem: body_of(pem)[:50],
    "body, URL-safe": lambda pem: base64.urlsafe_b64encode(base64.b64decode(body_of(pem))).decode(),
    "body in base64 again": lambda pem: base64.b64encode(body_of(pem).encode()).decode(),
    "no BEGIN line": lambda pem: pem.partition("\n")[2],
    "no dashes": lambda pem: pem.replace("-", ""),
    "base64": lambda pem: base64.b64encode(pem.encode()).decode(),
    "base64 in lines": lambda pem: base64.encodebytes(pem.encode()).decode(),
    "base64, URL-safe": lambda pem: base64.urlsafe_b64encode(pem.encode()).decode(),
    "base64 twice": lambda pem: base64.b64encode(base64.b64encode(pem.encode())).decode(),
    "hexadecimal": lambda pem: pem.encode().hex(),
    "DER in hexadecimal": lambda pem: base64.b64decode(body_of(pem)).hex(),
    "DER": lambda pem: base64.b64decode(body_of(pem)),
    "no END line": lambda pem: pem[: pem.index("-----END")],
    "BEGIN line alone": lambda pem: pem.splitlines()[0],
    "twice": lambda pem: pem + pem,
}
OTHER_KEYS: dict[str, bytes] = {
    "public key": public_of(ED25519, Encoding.PEM),
    "public key without its lines": base64.b64encode(public_of(RSA, Encoding.DER)),
    "certificate": b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    "elliptic curve": pem_of(ec.generate_private_key(ec.SECP256R1())),
    "elliptic curve of OpenSSL": pem_of(ec.generate_private_key(ec.SECP256K1()), PrivateFormat.TraditionalOpenSSL),
    "elliptic curve of OpenSSH": pem_of(ec.generate_private_key(ec.SECP256R1()), PrivateFormat.OpenSSH),
    "DSA": pem_of(dsa.generate_private_key(2048)),
    "OpenSSH without its lines": b"".join(pem_of(ED25519, PrivateFormat.OpenSSH).splitlines()[1:-1]),
    "OpenSSH, broken": b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
}


@pytest.mark.parametrize("change", MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["plain", "encrypted"])
def test_a_damaged_pem_is_refused(
    key: Ed25519PrivateKey | RSAPrivateKey, change: Pem, passphrase: bytes | None
) -> None:
    """A damaged key is never used as an HMAC secret, and the error shows nothing of the key."""
    pem = pem_of(key, passphrase=passphrase).decode()

    with pytest.raises(ConfigurationError) as caught:
        Client(API_KEY, change(pem), passphrase=passphrase)

    assert body_of(pem)[:20] not in report_of(caught.value)


@pytest.mark.parametrize("credential", OTHER_KEYS.values(), ids=OTHER_KEYS)
def test_a_key_of_another_type_is_refused(credential: bytes) -> None:
    """The exchange cannot verify its signatures, and the error shows nothing of the key."""
    with pytest.raises(ConfigurationError) as caught:
        Client(API_KEY, credential)

    lines = credential.splitlines()
    assert lines[min(1, len(lines) - 1)][:40].decode() not in report_of(caught.value)


QUOTED = ['"{}"', "'{}'", "`{}`", '"{}', "{}'", "“{}”", "‘{}’", "«{}»", ' "{}"\n']  # noqa: RUF001 - quotes that keys are pasted with
PLACEHOLDERS = [
    "<your-api-key>",
    "your-api-key",
    "YOUR_API_KEY",
    "your_secret_here",
    "insert-key",
    "changeme",
    "CHANGE_ME",
    "${API_KEY}",
    "$API_KEY",
    "$(cat key)",
    "{{ api_key }}",
    "%API_KEY%",
    "xxxxxxxx",
    "********",
    "...",
    "None",
    "null",
    "placeholder",
]


@pytest.mark.parametrize("text", QUOTED)
@pytest.mark.parametrize("field", ["api_key", "api_secret"])
def test_quotes_around_a_key_are_refused(text: str, field: str) -> None:
    """Some readers of environment files keep the quotes."""
    keys: dict[str, Any] = {"api_key": API_KEY, "api_secret": SECRET} | {field: text.format(SECRET)}

    with pytest.raises(ConfigurationError) as caught:
        Client(**keys)

    assert SECRET[:9] not in report_of(caught.value)


@pytest.mark.parametrize("text", PLACEHOLDERS)
@pytest.mark.parametrize("field", ["api_key", "api_secret"])
def test_a_placeholder_is_no_key(text: str, field: str) -> None:
    """The text of an example was copied."""
    keys: dict[str, Any] = {"api_key": API_KEY, "api_secret": SECRET} | {field: text}

    with pytest.raises(ConfigurationError):
        Client(**keys)


@pytest.mark.parametrize(
    "path", ["/run/secrets/key", "~/key.pem", "./key", "../key.pem", "key.pem", "C:\\key.pem", "file:///key", "a.key"]
)
def test_a_path_as_text_is_no_secret(path: str) -> None:
    """Every signature with a path as the secret would be wrong."""
    with pytest.raises(ConfigurationError):
        Client(API_KEY, path)


@pytest.mark.parametrize("key", [b"", " ", "\n", "\ufeff" + API_KEY, API_KEY + "\n", "ключ" * 16, API_KEY + "\u200b"])
def test_a_badly_copied_key_is_refused(key: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError):
        Client(key, SECRET)


def pipe(folder: Path) -> Path:
    """Make a pipe without a writer."""
    os.mkfifo(folder / "pipe", mode=0o600)
    return folder / "pipe"


def large(folder: Path) -> Path:
    """Make a file larger than any key."""
    path = key_file(folder, b"")
    os.truncate(path, 2**40)
    return path


ODD_FILES: dict[str, Callable[[Path], Path]] = {
    "a directory": lambda folder: folder,
    "a pipe": pipe,
    "a device that can be read without end": lambda _: Path("/dev/zero"),
    "a large file": large,
    "a file without text": lambda folder: key_file(folder, bytes(range(256))),
    "an invalid name": lambda _: Path("a\0b"),
    "the home of an unknown user": lambda _: Path("~no-such-user-7391/key.pem"),
}


@posix
@pytest.mark.parametrize("path_in", ODD_FILES.values(), ids=ODD_FILES)
def test_a_file_without_a_key_is_refused_at_once(path_in: Callable[[Path], Path], tmp_path: Path) -> None:
    """Reading never blocks, and no more is read than a key can have."""
    path = path_in(tmp_path)

    with pytest.raises(ConfigurationError):
        Client(API_KEY, path)


def test_a_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may start with a tilde, as in a shell."""
    key_file(tmp_path, pem_of(ED25519))
    monkeypatch.setenv("HOME", str(tmp_path))

    Client.from_env({"BINANCE_PM_API_KEY": API_KEY, "BINANCE_PM_PRIVATE_KEY_FILE": "~/key.pem"})


@posix
@pytest.mark.parametrize(
    ("mode", "is_own"),
    [(0o444, True), (0o440, True), (0o555, True), (0o644, False)],
    ids=["all", "group", "run", "other"],
)
def test_a_mounted_key_gets_feasible_advice(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_own: bool
) -> None:
    """The reader of a mounted secret, or of another user's file, cannot change its mode."""
    path = key_file(tmp_path, pem_of(ED25519), mode)
    if not is_own:
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)

    with pytest.raises(ConfigurationError, match="chmod 400"):
        Client(API_KEY, path)
    path.chmod(0o400)
    Client(API_KEY, path)
