"""A key is sent only to the exchange, to this machine, or to a host that the caller allows explicitly."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from binance_pm.hosts import PAPI_URL, SAPI_URL, check_url, counted_url, split_link

EXCHANGE = [f"https://{name}.binance.com" for name in ("papi", "api", "api1", "api2", "api3", "api4")]
LOCAL = [
    "http://localhost",
    "http://localhost:8000",
    "https://localhost:8443",
    "http://127.0.0.1:8000",
    "http://localhost:1",
    "http://127.9.9.9",
    "http://[::1]",
    "http://[::1]:8000",
]


@pytest.mark.parametrize("url", [PAPI_URL, SAPI_URL, *EXCHANGE, *LOCAL])
def test_the_exchange_and_this_machine_are_accepted(url: str) -> None:
    """The exchange's hosts over https, and loopback addresses."""
    assert check_url(url, allow_custom_host=False) == url


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://papi.binance.com/", "https://papi.binance.com"),
        ("https://papi.binance.com:443", "https://papi.binance.com"),
        ("https://papi.binance.com:0443/", "https://papi.binance.com"),
        ("https://papi.binance.com:", "https://papi.binance.com"),
        ("HTTPS://PAPI.Binance.COM", "https://papi.binance.com"),
        ("http://LOCALHOST:80/", "http://localhost"),
        ("https://localhost:80", "https://localhost:80"),
        ("http://[::1]:08000/", "http://[::1]:8000"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
        ("https://[::1]:443", "https://[::1]"),
    ],
)
def test_a_host_has_one_spelling(url: str, origin: str) -> None:
    """In any spelling, a host is one host, whose weight is counted once."""
    assert check_url(url, allow_custom_host=False) == origin


FOREIGN = [
    "https://papi.binance.com.evil.example",
    "https://evil-papi.binance.com",
    "https://evil.papi.binance.com",
    "https://binance.com",
    "https://papi.binance.com.",
    "https://fapi.binance.com",
    "https://papi.binance.us",
    "https://papi.binance.com:8443",
    "https://xn--binnce-9hb.com",
    "https://127.0.0.1.evil.example",
    "https://localhost.evil.example",
    "https://localhost.",
    "https://0.0.0.0",
    "https://192.168.0.1",
    "https://[::2]",
]


@pytest.mark.parametrize("url", FOREIGN)
def test_another_host_is_accepted_only_if_the_caller_allows_it(url: str) -> None:
    """A host with a similar name may be a gateway of the caller; the error says how to allow the host."""
    assert check_url(url, allow_custom_host=True) == url
    with pytest.raises(ValueError, match="allow_custom_host"):
        check_url(url, allow_custom_host=False)


@pytest.mark.parametrize("insisting", [True, False])
@pytest.mark.parametrize(
    "url",
    [
        "http://papi.binance.com",
        "http://gateway.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://10.0.0.1",
        "ftp://papi.binance.com",
        "ws://localhost",
        "//papi.binance.com",
    ],
)
def test_a_key_is_never_sent_unencrypted(url: str, *, insisting: bool) -> None:
    """Except to this machine, https is required."""
    with pytest.raises(ValueError, match="not https"):
        check_url(url, allow_custom_host=insisting)


@pytest.mark.parametrize(
    "url",
    [
        "",
        " ",
        "papi.binance.com",
        "papi.binance.com:443",
        "https://",
        "https:///papi",
        "https:papi.binance.com",
        "https://:443",
        "https://papi.binance.com:0",
        "https://papi.binance.com:65536",
        "https://papi.binance.com:-1",
        "https://papi.binance.com:https",
        "https://[::1",
        "https://[papi.binance.com]",
        "https://papi.binance.com\\.evil.example",
        "https:\\\\papi.binance.com",
        "https://papi.binance.com\\@evil.example",
        "https://papi.bin\tance.com",
        "https://papi.binance.com\n",
        "\nhttps://papi.binance.com",
        "https://papi.binance.com\r\nx: y",
        "https://papi.binance.com\x00",
        "https://papi.binance.com\x7f",
        " https://papi.binance.com",
        "https://papi.binance .com",
        "https://pаpi.binance.com",  # noqa: RUF001 - the Cyrillic letter is intended
        "https://papi。binance。com",
        "https://papi.binance.com⁄@evil.example",  # noqa: RUF001 - no slash, but it looks like one
        "http://[::1]evil.example",
        "http://[::1]evil.example:80",
        "http://[::1].evil.example",
        "http://evil.example[::1]",
        "http://[::1]:80:80",
        "http://[::1]]",
        "http://[[::1]]",
        "http://[::1%25eth0]",
        "http://[::1%eth0]",
        "http://[::1%25]:8000",
        "http://[fe80::1%25evil.example]",
        "http://[v1.x]",
        "http://[127.0.0.1]",
        "http://[::1::]",
        "http://[:]",
        "http://[]",
        "http://127.0.0.1%00.evil.example",
        "https://papi.binance.com%2eevil.example",
        "https://papi.binance.com;evil.example",
        "https://papi.binance.com,evil.example",
        "https://papi.binance.com&evil.example",
        "https://papi..binance.com",
        "https://.papi.binance.com",
        "https://papi.binance.com..",
        "https://.",
        f"https://{'a' * 64}.example",
        "https://papi.binance.com:+443",
        "https://papi.binance.com:4_43",
        # Numbers that a resolver reads as 127.0.0.1.
        "http://2130706433",
        "http://0x7f000001",
        "http://127.1",
        "http://127.0.0.1.",
        "http://0127.0.0.1",
        "http://0x7f.0.0.1",
        "http://evil.example.1",
        "http://1.2.3.999",
    ],
    ids=repr,
)
def test_an_irregular_url_is_refused(url: str) -> None:
    """White space, backslashes, other scripts, wrong ports and partial URLs, even if other hosts are allowed."""
    with pytest.raises(ValueError, match=r"such as https://papi\.binance\.com"):
        check_url(url, allow_custom_host=True)


PIECES = [
    "papi.binance.com", "localhost", "evil.example", "127.0.0.1", "127.1", "0x7f", "1", "[::1]", "[", "]", "::1",
    "::ffff:127.0.0.1", ":80", ":443", ":0", "%25", "%2e", "//", "a", "A", "é", "xn--",
    *":.-_%@/\\?#;&,!$~*'()|^`{}\"<> \t",
]  # fmt: skip


@settings(max_examples=1000)
@given(
    scheme=st.sampled_from(["http", "https", "HTTPS"]),
    netloc=st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join) | st.text(max_size=12),
    insisting=st.booleans(),
)
@example(scheme="http", netloc="[::1]", insisting=False)
@example(scheme="https", netloc="a", insisting=True)
def test_the_checked_host_is_the_called_host(scheme: str, netloc: str, *, insisting: bool) -> None:
    """The standard library and httpx read the same host and port, before and after normalisation."""
    try:
        origin = check_url(f"{scheme}://{netloc}", allow_custom_host=insisting)
    except ValueError:
        return

    places = {place(url) for url in (f"{scheme}://{netloc}", origin)}
    assert len(places) == 1
    standard, other = places.pop()
    assert standard == other
    host, _ = standard
    assert insisting or host in {"localhost", *(urlsplit(url).hostname for url in EXCHANGE)} or is_loopback(host)
    assert check_url(origin, allow_custom_host=insisting) == origin


def place(url: str) -> tuple[tuple[str, int], tuple[str, int]]:
    """Return host and port as the standard library and httpx read them."""
    standard, other = urlsplit(url), httpx.URL(url)
    usual = {"http": 80, "https": 443}[standard.scheme]
    return (
        (plain(standard.hostname or ""), standard.port or usual),
        (plain(other.raw_host.decode()), other.port or usual),
    )


def plain(host: str) -> str:
    """Return the one spelling of an address; a name as it is."""
    try:
        return str(ip_address(host))
    except ValueError:
        return host.lower()


def is_loopback(host: str) -> bool:
    """Whether the host is an address of this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.mark.parametrize(
    "url",
    [
        "https://papi.binance.com/papi/v1",
        "https://papi.binance.com/?recvWindow=1",
        "https://papi.binance.com?x",
        "https://papi.binance.com#x",
        "https://papi.binance.com/.",
    ],
)
def test_only_the_host_is_accepted(url: str) -> None:
    """A path or query would be lost or repeated; the error shows the valid part."""
    with pytest.raises(ValueError, match=r"https://papi\.binance\.com\b"):
        check_url(url, allow_custom_host=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter2@papi.binance.com",
        "https://hunter2@evil.example/",
        "http://user:hunter2@evil.example",
        "https://evil.example/user:hunter2@papi.binance.com",
        "https://evil.example?password=hunter2",
        "https://evil.example#hunter2",
        "https://user:hunter2@papi.binance.com:99999",
        "https://papi.binance.com:hunter2",
        "user:hunter2@papi.binance.com",
        "https://papi.binance.com@evil.example",
        "https://:hunter2@papi.binance.com",
        "http://user:hunter2@localhost",
    ],
)
def test_a_user_name_is_refused_and_a_password_never_shown(url: str) -> None:
    """A name before an @ could be mistaken for the host."""
    for insisting in (True, False):
        with pytest.raises(ValueError, match="base URL") as caught:
            check_url(url, allow_custom_host=insisting)

        assert "hunter2" not in repr((caught.value, caught.value.__context__))


def test_numbered_hosts_are_counted_as_one() -> None:
    """They lead to the same exchange: four budgets would spend four times the limit."""
    counted = {counted_url(f"https://api{number}.binance.com") for number in (1, 2, 3, 4)}
    others = [PAPI_URL, SAPI_URL, "http://127.0.0.1:8000"]

    assert (counted, [counted_url(url) for url in others]) == ({SAPI_URL}, others)


@pytest.mark.parametrize(
    ("link", "origin", "target"),
    [
        ("files.example/a.csv?X-Sig=1%2F&b", "https://files.example", "/a.csv?X-Sig=1%2F&b"),
        ("https://Files.Example:8443/a#part", "https://files.example:8443", "/a"),
        ("https://www.binance.com/", "https://www.binance.com", "/"),
        ("https://bucket.s3.amazonaws.com?X-Amz-Signature=1", "https://bucket.s3.amazonaws.com", "/?X-Amz-Signature=1"),
    ],
)
def test_a_link_is_split(link: str, origin: str, target: str) -> None:
    """A link without a scheme is https; the target is what the server is sent."""
    assert split_link(link, local=False, refused=PAPI_URL) == (origin, target)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize(
    "link",
    [
        *(f"{url}/secret" for url in EXCHANGE),
        "https://papi.binance.com./secret",
        "https://PAPI.binance.com/secret",
        "papi.binance.com/secret",
        "https://proxy.example/secret",
        "http://files.example/secret",
        "https://user@files.example/secret",
        "https://files.example\\@papi.binance.com/secret",
        "https://files.example/a b",
        "https://",
        "",
        "file:///etc/passwd",
        "ftp://files.example/secret",
    ],
)
def test_a_link_to_a_wrong_place_is_refused(link: str, local: bool) -> None:
    """No error shows what follows the host."""
    with pytest.raises(ValueError, match=r"^the link ") as caught:
        split_link(link, local=local, refused="https://proxy.example")
    assert "secret" not in str(caught.value)


def test_files_of_a_local_exchange_are_on_this_machine() -> None:
    """Plain http is allowed, and only then; the exchange's own origin is not."""
    assert split_link("127.0.0.1:81/a", local=True, refused="http://127.0.0.1") == ("http://127.0.0.1:81", "/a")
    for link, local in (("http://127.0.0.1:81/a", False), ("https://127.0.0.1/a", False), ("127.0.0.1/a", True)):
        with pytest.raises(ValueError, match=r"^the link "):
            split_link(link, local=local, refused="http://127.0.0.1")
