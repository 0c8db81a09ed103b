"""The bytes signed are the bytes sent, every kind of key signs as the exchange asks, and no secret is ever shown."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import inspect
import json
import os
import pickle
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from binance_pm import Budget, Client, ConfigurationError, Session
from binance_pm.extras import installation
from binance_pm.signing import Credential, Secret, Signer, check_key, signer

API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
# The exchange's own example of a key, on its page of Portfolio Margin Pro.
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
PASSPHRASE = "correct-horse-battery"
PAYLOAD = b"symbol=BTCUSDT&timestamp=1499827319559"

posix = pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")


class Pair(NamedTuple):
    """A private key, in PEM and as itself, to verify with its public half."""

    key: Ed25519PrivateKey | RSAPrivateKey
    plain: str
    encrypted: str

    def verify(self, signature: str, payload: bytes) -> None:
        """Raise where the signature is not the key's for the payload."""
        held = base64.b64decode(signature, validate=True)
        if isinstance(self.key, Ed25519PrivateKey):
            self.key.public_key().verify(held, payload)
        else:
            self.key.public_key().verify(held, payload, PKCS1v15(), SHA256())


def pair_of(key: Ed25519PrivateKey | RSAPrivateKey) -> Pair:
    """The key with its two PEM texts."""
    plain, encrypted = (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()
        for encryption in (NoEncryption(), BestAvailableEncryption(PASSPHRASE.encode()))
    )
    return Pair(key, plain, encrypted)


@pytest.fixture(scope="module")
def rsa() -> Pair:
    """An RSA key: made once, for it takes long."""
    return pair_of(generate_rsa_key(public_exponent=65537, key_size=2048))


@pytest.fixture(scope="module")
def ed25519() -> Pair:
    """An Ed25519 key."""
    return pair_of(Ed25519PrivateKey.generate())


@pytest.fixture(params=["ed25519", "rsa"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """A key of either kind."""
    return request.getfixturevalue(request.param)


def signed(sign: Signer, payload: bytes) -> str:
    """The signature of a signer that needs no waiting."""
    signature = sign(payload)
    assert isinstance(signature, str)
    return signature


def told(error: BaseException) -> str:
    """Everything that an error, its chain and a report made of it show."""
    shown = "".join(traceback.format_exception(error))
    chain: BaseException | None = error
    while chain is not None:
        shown += repr((chain, chain.args, vars(chain)))
        chain = chain.__cause__ or chain.__context__
    return shown


def refusal(credential: Credential, passphrase: str | bytes | Secret | None = None) -> ValueError:
    """The error with which a credential is refused."""
    with pytest.raises(ValueError, match=r"key|secret") as caught:
        signer(credential, passphrase=passphrase)
    return caught.value


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    """A file of the given text and permissions."""
    path = folder / "key.pem"
    path.write_text(text)
    path.chmod(mode)
    return path


ORDER = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC"
REST = "quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        (f"{ORDER}&{REST}", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        # Query and body mixed are joined without a separator.
        (f"{ORDER}{REST}", "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"),
    ],
    ids=["query", "query and body"],
)
@pytest.mark.parametrize("secret", [SECRET, SECRET.encode()], ids=["text", "bytes"])
def test_the_exchanges_own_examples(secret: str | bytes, payload: str, signature: str) -> None:
    """An HMAC signer makes the signatures that stand on the exchange's pages."""
    assert signer(secret)(payload.encode()) == signature


def test_an_example_with_another_key() -> None:
    """The key of the Portfolio Margin page; the signatures there are wrong, this one is recomputed."""
    payload = (
        b"symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=2000&recvWindow=5000"
        b"&timestamp=1611825601400"
    )

    signature = signer("YtP1BudNOWZE1ag5uzCkh4hIC7qSmQOu797r5EJBFGhxBYivjj8HIX0iiiPof5yG")(payload)

    assert signature == "4c633cd74726176f44d7a81ac9c86ffd6045169b3fadac568b577285ac95ca45"


def test_signatures_are_independent() -> None:
    """The state that is kept between signatures is not changed by one."""
    sign = signer(SECRET)

    assert sign(PAYLOAD) == sign(PAYLOAD) != sign(b"")


def test_a_private_key_signs(pair: Pair) -> None:
    """Ed25519 and RSA signatures verify with the public key."""
    pair.verify(signed(signer(pair.plain), PAYLOAD), PAYLOAD)


@pytest.mark.parametrize("around", ["", "\n", "  \r\n\t"])
@pytest.mark.parametrize("kind", ["text", "bytes", "path"])
def test_a_private_key_is_given_in_three_ways(ed25519: Pair, tmp_path: Path, kind: str, around: str) -> None:
    """PEM may be text, bytes or the path of a file, with white space around it."""
    text = around + ed25519.plain + around
    given: Credential = {"text": text, "bytes": text.encode(), "path": key_file(tmp_path, text)}[kind]

    ed25519.verify(signed(signer(given), PAYLOAD), PAYLOAD)


@pytest.mark.parametrize("passphrase", [PASSPHRASE, PASSPHRASE.encode(), Secret(PASSPHRASE)], ids=repr)
def test_the_passphrase_opens_an_encrypted_key(pair: Pair, passphrase: str | bytes | Secret) -> None:
    """A passphrase may be text, bytes or a `Secret`."""
    sign = signer(pair.encrypted, passphrase=passphrase)

    pair.verify(signed(sign, PAYLOAD), PAYLOAD)


@pytest.mark.parametrize("passphrase", ["", b"", Secret("")], ids=repr)
def test_an_empty_passphrase_is_none(ed25519: Pair, passphrase: str | bytes | Secret) -> None:
    """What an unset variable leaves opens nothing: it is no passphrase for a key that needs none."""
    ed25519.verify(signed(signer(ed25519.plain, passphrase=passphrase), PAYLOAD), PAYLOAD)


@pytest.mark.parametrize("passphrase", [None, "", Secret(""), "wrong-and-secret", "wrong-and-secret\ud800"], ids=repr)
def test_an_encrypted_key_stays_closed(pair: Pair, passphrase: str | Secret | None) -> None:
    """The text says whether the passphrase is missing or wrong, and nothing shows it or the key."""
    error = refusal(pair.encrypted, passphrase)

    assert ("passphrase" in str(error), "encrypted" in str(error)) == (
        True,
        not (isinstance(passphrase, str) and passphrase),
    )
    assert "wrong-and-secret" not in told(error)
    assert pair.encrypted.splitlines()[1] not in told(error)


def test_a_superfluous_passphrase_is_refused(pair: Pair) -> None:
    """A key that is not encrypted has no passphrase."""
    error = refusal(pair.plain, PASSPHRASE)

    assert "passphrase" in str(error)
    assert PASSPHRASE not in told(error)


def other_kind() -> str:
    """A private key that the exchange does not know."""
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_another_kind_of_key_is_refused() -> None:
    """Elliptic curves other than Ed25519 are not the exchange's."""
    pem = other_kind()

    error = refusal(pem)

    assert "Ed25519 or RSA" in str(error)
    assert pem.splitlines()[1] not in told(error)


def cut(pem: str) -> str:
    """A key whose end was not copied."""
    return pem[:-60]


def changed(pem: str) -> str:
    """A key with letters changed."""
    return pem.replace("M", "N")


def broken(pem: str) -> str:
    """A key with half a character in it."""
    return f"{pem[:60]}\ud800{pem[60:]}"


@pytest.mark.parametrize("spoil", [cut, changed, broken])
def test_a_spoilt_key_is_refused(pair: Pair, spoil: Callable[[str], str]) -> None:
    """PEM that was cut or changed is refused without showing what is left of it."""
    spoilt = spoil(pair.plain)

    error = refusal(spoilt)

    assert "PKCS#8" in str(error)
    assert spoilt.splitlines()[1][:20] not in told(error)


def test_a_public_key_is_refused(ed25519: Pair) -> None:
    """The half that the exchange holds cannot sign."""
    public = "-----BEGIN PUBLIC KEY-----\n" + "\n".join(ed25519.plain.splitlines()[1:])

    assert "PKCS#8" in str(refusal(public))


def test_the_extra_is_named_where_it_is_missing(ed25519: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cryptography a private key is refused with what to install."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)

    assert str(refusal(ed25519.plain)).endswith(installation("keys"))


@posix
@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o601, 0o666, 0o777])
def test_a_file_that_everybody_may_read_is_refused(ed25519: Pair, tmp_path: Path, mode: int) -> None:
    """A key file is for its owner alone; the text says what to do."""
    path = key_file(tmp_path, ed25519.plain, mode)

    assert str(path) in str(refusal(path))


@posix
@pytest.mark.parametrize("mode", [0o640, 0o660, 0o620, 0o610])
def test_ones_own_file_that_a_group_may_read_is_refused(ed25519: Pair, tmp_path: Path, mode: int) -> None:
    """Not even one's group may read one's key."""
    path = key_file(tmp_path, ed25519.plain, mode)

    assert str(path) in str(refusal(path))


@posix
def test_another_owners_file_may_be_read_by_a_group(
    ed25519: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets that are mounted into a container belong to somebody else, and to the reader's group."""
    path = key_file(tmp_path, ed25519.plain, 0o440)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)

    ed25519.verify(signed(signer(path), PAYLOAD), PAYLOAD)


@posix
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_ones_own_is_accepted(ed25519: Pair, tmp_path: Path, mode: int) -> None:
    """A key file that only its owner may read is read."""
    path = key_file(tmp_path, ed25519.plain, mode)

    ed25519.verify(signed(signer(path), PAYLOAD), PAYLOAD)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    """Where there is no file the text names it and the reason."""
    path = tmp_path / "key.pem"

    assert str(path) in str(refusal(path))


def test_a_directory_is_no_key(tmp_path: Path) -> None:
    """A directory cannot be read as a key."""
    assert str(tmp_path) in str(refusal(tmp_path))


def test_a_file_without_a_key_is_refused(tmp_path: Path) -> None:
    """A file that holds no PEM, such as an HMAC secret, is refused and not shown."""
    error = refusal(key_file(tmp_path, SECRET))

    assert "PKCS#8" in str(error)
    assert SECRET not in told(error)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        b"",
        f"{SECRET}\n",
        f" {SECRET}",
        f"{SECRET[:9]} {SECRET[9:]}",
        f"{SECRET}\t",
        f"{SECRET}\x00",
        f"{SECRET}\x7f",
        f"{SECRET}é",
        f"\ufeff{SECRET}",
        f"{SECRET}\ud800",
        f"{SECRET}\u200b".encode(),
    ],
    ids=ascii,
)
def test_a_secret_that_was_copied_badly_is_refused(secret: str | bytes) -> None:
    """What came along in copying is found here and not by the exchange; the text shows nothing of the secret."""
    error = refusal(secret)

    assert "API secret" in str(error)
    assert SECRET[:9] not in told(error)


@pytest.mark.parametrize("key", [b"", b" ", b"key ", b"a\nb", b"\xc3\xa9", b"\x7f"])
def test_a_key_that_was_copied_badly_is_refused(key: bytes) -> None:
    """The same holds for the API key, under its own name."""
    with pytest.raises(ValueError, match="API key"):
        check_key(key, "the API key")


def test_a_key_may_have_any_printable_character() -> None:
    """What the exchange makes tomorrow is not refused: all of ASCII that can be seen is fine."""
    check_key(bytes(range(0x21, 0x7F)), "the API key")


def test_a_function_signs_itself() -> None:
    """A signer of the caller's own is used as it is."""

    def sign(payload: bytes) -> str:
        return payload.hex()

    assert signer(sign) is sign


# What people and tools do to look at a value.
LOOKS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": "{}".format,
    "padded": "{0!r:>99}".format,
    "percent": "%s".__mod__,
    "f-string": lambda secret: f"{secret}",
    "list": lambda secret: [secret],
    "dict": lambda secret: {"secret": secret},
    "vars": vars,
    "slots": lambda secret: [getattr(secret, name) for name in secret.__slots__],
    "dir": lambda secret: [repr(getattr(secret, name)) for name in dir(secret)],
    "getmembers": inspect.getmembers,
    "json": json.dumps,
    "json as text": lambda secret: json.dumps(secret, default=str),
    "msgspec": msgspec.json.encode,
    "builtins": msgspec.to_builtins,
    "bytes": bytes,
    "iter": list[object],
    "add": lambda secret: secret + "",
    "int": int,
    "hash": hash,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_secret_is_not_shown(look: Callable[[Any], object]) -> None:
    """However it is looked at, a secret either refuses or shows nothing of itself."""
    try:
        seen = look(Secret(SECRET))
    except (TypeError, AttributeError) as refused:
        seen = told(refused)

    assert SECRET not in f"{seen!r} {seen}"


TAKES: dict[str, Callable[[Any], object]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "nested": lambda secret: copy.deepcopy({"held": secret}),
    "pickle": pickle.dumps,
    "oldest pickle": lambda secret: pickle.dumps(secret, 0),
    "getstate": lambda secret: secret.__getstate__(),
    "reduce": lambda secret: secret.__reduce__(),
    "reduce_ex": lambda secret: secret.__reduce_ex__(4),
}


@pytest.mark.parametrize("take", TAKES.values(), ids=TAKES)
def test_a_secret_is_not_taken_along(take: Callable[[Any], object]) -> None:
    """A secret can be neither copied nor pickled."""
    with pytest.raises(TypeError, match="secret"):
        take(Secret(SECRET))


def test_secrets_are_not_compared() -> None:
    """Equal secrets are not equal: comparing would tell."""
    held, other = Secret(SECRET), Secret(SECRET)

    assert (held == other, held == SECRET, held == held) == (False, False, True)  # noqa: PLR0124 - identity is the fact


@pytest.mark.parametrize(("value", "revealed"), [("a", b"a"), (b"\xff", b"\xff"), ("é", "é".encode()), ("", b"")])
def test_a_secret_reveals_itself_where_it_is_used(value: str | bytes, revealed: bytes) -> None:
    """Its user gets the bytes."""
    assert Secret(value).reveal() == revealed


def test_making_a_secret_shows_nothing() -> None:
    """Text that is not valid Unicode is held too: an error would quote it."""
    assert Secret(f"{SECRET}\ud800").reveal().startswith(SECRET.encode())


ADDED = {"recvWindow", "timestamp", "signature"}


class Heard:
    """An exchange in memory that keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Keep it, and answer with nothing."""
        self.requests.append(request)
        return httpx.Response(200, json={})

    @property
    def query(self) -> bytes:
        """The query of the last request, byte for byte."""
        return self.requests[-1].url.raw_path.partition(b"?")[2]

    def client(self, secret: Credential | None = SECRET) -> Client:
        """A client that leads here."""
        session = Session(http=httpx.MockTransport(self), budget=Budget())
        return Client(API_KEY, secret, session=session)


@settings(deadline=None)
@given(
    parameters=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])).filter(lambda name: name not in ADDED),
        st.one_of(st.text(st.characters()), st.integers(-(2**63), 2**64)),
    )
)
@example({"a": "&signature=x", "b": "#?/\\%2B+ ~", "c": "", "": "\x00\r\n"})
@example({"a": "\ud800"})
@example({"a": "中😀\u202e"})
async def test_the_bytes_signed_are_the_bytes_sent(parameters: dict[str, str | int]) -> None:
    """Over all of Unicode, what stands before the signature is what was signed, and is what was asked for."""
    exchange = Heard()
    async with exchange.client() as client:
        try:
            await client.request("GET", "/papi/v1/x", weight=1, returns=dict[str, str], params=parameters)
        except ConfigurationError:
            assert not exchange.requests
            assert any("\ud800" <= character <= "\udfff" for value in parameters.values() for character in str(value))
            return

    payload, _, signature = exchange.query.rpartition(b"&signature=")
    assert hmac.new(SECRET.encode(), payload, hashlib.sha256).hexdigest().encode() == signature
    *sent, (name, timestamp) = parse_qsl(payload.decode(), keep_blank_values=True, strict_parsing=True)
    assert sent == [(name, str(value)) for name, value in parameters.items()]
    assert (name, len(timestamp)) == ("timestamp", 13)


async def test_the_key_travels_in_its_header() -> None:
    """The key is in the header, and neither key nor secret in the URL."""
    exchange = Heard()
    async with exchange.client() as client:
        await client.request("GET", "/papi/v1/x", weight=1, returns=dict[str, str])

    assert exchange.requests[-1].headers["X-MBX-APIKEY"] == API_KEY
    assert API_KEY not in str(exchange.requests[-1].url)
    assert SECRET not in str(exchange.requests[-1].headers.raw) + str(exchange.requests[-1].url)


async def test_a_base64_signature_arrives_whole(pair: Pair) -> None:
    """The plus, slash and equals sign of base64 survive the query."""
    exchange = Heard()
    async with exchange.client(pair.plain) as client:
        await client.request("GET", "/papi/v1/x", weight=1, returns=dict[str, str], params={"symbol": "BTCUSDT"})

    payload, _, signature = exchange.query.rpartition(b"&signature=")
    assert not set(b"+/=") & set(signature)
    pair.verify(httpx.QueryParams(b"s=" + signature)["s"], payload)


async def test_a_signer_may_take_its_time() -> None:
    """A function that returns an awaitable signs too, for a key that lives elsewhere."""
    exchange = Heard()

    async def sign(payload: bytes) -> str:
        return f"{len(payload)}+"

    async with exchange.client(sign) as client:
        await client.request("GET", "/papi/v1/x", weight=1, returns=dict[str, str])

    payload, _, signature = exchange.query.rpartition(b"&signature=")
    assert signature.decode() == f"{len(payload)}%2B"


async def test_a_signer_that_fails_is_named() -> None:
    """Whatever a signer of the caller's own raises, nothing is sent and the error says so."""
    exchange = Heard()

    def sign(_: bytes) -> str | Awaitable[str]:
        raise LookupError(SECRET)

    async with exchange.client(sign) as client:
        with pytest.raises(ConfigurationError, match="LookupError") as caught:
            await client.request("GET", "/papi/v1/x", weight=1, returns=dict[str, str])

    assert not exchange.requests
    assert SECRET not in str(caught.value)


def test_what_is_no_credential_is_refused_at_once() -> None:
    """A mistaken type is told when the client is made, not at its first call."""
    credential: Any = 42

    with pytest.raises(ValueError, match="int"):
        signer(credential)


def test_a_passphrase_beside_an_hmac_secret_is_a_mistake() -> None:
    """Whoever gives one believes to have given a private key."""
    with pytest.raises(ValueError, match="passphrase"):
        signer("secret", passphrase="word")
