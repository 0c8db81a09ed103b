"""``binance-pm doctor`` as its user meets it: every line, found and failing, and never a traceback."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, get_args

import pytest

from binance_pm.cli.doctor import FAULTS
from binance_pm.doctor import CheckName
from binance_pm.testing import Fault, Sandbox
from binance_pm.transport.http import Timeouts
from tests.support.certificates import make_certificate
from tests.support.command import COMMAND, NO_KEYS, Outcome, at_terminal, environment_of
from tests.support.proxies import Seen, connect_proxy, encrypting
from tests.support.raw_server import Behaviour, answering, refusing_port, serve_raw, silent

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "no_proxy", "NO_PROXY")
KEYS = {"BINANCE_PM_API_KEY": "k" * 64, "BINANCE_PM_API_SECRET": "s" * 64}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's own proxies are in the way."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step on the way is waited for for long."""
    monkeypatch.setattr("binance_pm.doctor.network.SECONDS", 0.4)


def checks_of(ended: Outcome) -> list[dict[str, Any]]:
    """Each line of JSON."""
    assert ended.err == ""
    return [json.loads(line) for line in ended.out.splitlines()]


def check(ended: Outcome, name: str, subject: str | None = None) -> dict[str, Any]:
    """The one check of the name, for a subject where there are several."""
    (found,) = [one for one in checks_of(ended) if one["name"] == name and subject in {None, one["target"]}]
    return found


def verdicts(ended: Outcome) -> dict[str, str]:
    """What was found of each name."""
    return {one["name"]: one["verdict"] for one in checks_of(ended)}


def in_the_clear(connection: socket.socket) -> None:
    """Answer a greeting of TLS as a web server does that speaks none."""
    connection.recv(100)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def hanging_up(connection: socket.socket) -> None:
    """Say nothing, and end it."""
    connection.recv(100)


class TestSandbox:
    """With the local exchange."""

    def test_all_is_well(self, run: Any) -> None:
        """Every check is there in its order, in 80 columns; the exit code is 0."""
        ended = run("doctor", "--sandbox")

        names = [line[12:26].strip() for line in ended.out.splitlines() if line[:1] != " "]
        assert (ended.code, ended.err, max(map(len, ended.out.splitlines())) <= 80) == (0, "", True)
        assert names == list(get_args(CheckName))
        assert "\x1b" not in ended.out

    def test_json(self, run: Any) -> None:
        """One object for each; nothing is failing, TLS is not spoken on this machine."""
        ended = run("doctor", "--sandbox", "--json")

        found = verdicts(ended)
        assert (ended.code, list(found)) == (0, list(get_args(CheckName)))
        assert {name for name, verdict in found.items() if verdict != "ok"} == {"tls"}
        assert re.search(r"^127\.0\.0\.1:\d+: by IPv4 127\.0\.0\.1, from 127\.0\.0\.1, connected in \d+ ms$",
                         check(ended, "egress")["finding"])  # fmt: skip
        assert re.search(r"this machine is \d+ ms (ahead|behind), round trip \d+ ms$", check(ended, "clock")["finding"])
        assert check(ended, "key")["finding"] == "HMAC, and an API key of 64 letters and digits"
        assert check(ended, "permissions")["finding"] == "a signed read works: account, span_account, pro_account"
        assert check(ended, "product")["finding"].startswith("Portfolio Margin Pro SPAN (span): ")
        assert check(ended, "budget")["finding"].startswith("nobody else on this IP uses /papi, ")
        assert check(ended, "account")["finding"] == "NORMAL, uniMMR 2.40"
        assert check(ended, "limits")["finding"].endswith("this examination weighed 32")

    # The fault, the check that tells of it, its verdict, what it says and what it advises, and the exit code.
    STRUCK = (
        ("clock", "clock", "failed", "300.0 s behind, .* refused with -1021", "NTP", 1),
        ("slow", "clock", "warning", "round trip 1.2 s", "slows the network", 0),
        ("silent", "clock", "failed", "the connection was closed", "try again", 1),
        ("place", "clock", "failed", "HTTP 451", "does not serve the country", 1),
        ("portal", "clock", "failed", "unexpected response", "answered instead of Binance", 1),
        ("key", "permissions", "failed", "API-key format invalid .*-2014", "mistyped or cut", 1),
        ("permission", "permissions", "failed", "-2015.* strips the futures permission", "Make a new key", 1),
        ("signature", "permissions", "failed", "-1022", "does not belong to this API key", 1),
        ("timestamp", "permissions", "failed", "-1021", "recv_window", 1),
        ("product", "product", "failed", "on no Portfolio Margin .-21001", "Enable Portfolio Margin, then", 1),
        ("others", "budget", "warning", "others on this IP used 3,9.. of 6,000 in this minute by /papi", "share", 0),
        ("danger", "account", "warning", "^MARGIN_CALL, uniMMR 1.30$", "Add margin", 0),
        ("limit", "limits", "failed", "refused this IP for its limit: nothing may be sent for", "Stop every", 1),
        ("ban", "limits", "failed", "banned this IP: nothing may be sent for 1", "Stop every program", 1),
    )

    @pytest.mark.parametrize(("fault", "name", "verdict", "what", "advice", "code"), STRUCK)
    def test_each_fault_is_told(
        self, run: Any, fault: str, name: str, verdict: str, what: str, advice: str, code: int
    ) -> None:
        """By one line with what happened and what to do; the others are fine, or not checked for it."""
        ended = run("doctor", "--sandbox", "--fault", fault, "--json")

        told = check(ended, name)
        assert (ended.code, told["verdict"]) == (code, verdict)
        assert re.search(what, told["finding"])
        assert advice in told["advice"]
        # A refusal of the IP fails the first call as well.
        failing = {name for name, verdict in verdicts(ended).items() if verdict in {"failed", "warning"}}
        assert failing == ({name, "clock"} if fault in {"limit", "ban"} else {name})

    def test_every_fault_has_its_line(self) -> None:
        """None can be added without one."""
        assert {fault for fault, *_ in self.STRUCK} == set(FAULTS)

    def test_what_failed_is_not_asked_again(self, run: Any) -> None:
        """Without a way there is nothing more to find out."""
        found = verdicts(run("doctor", "--sandbox", "--fault", "silent", "--json"))

        unchecked = {name for name, verdict in found.items() if verdict == "not checked"}
        assert unchecked == {"tls", "permissions", "product", "budget", "account", "limits"}

    def test_text_says_what_to_do(self, run: Any) -> None:
        """The advice stands below what was found."""
        ended = run("doctor", "--sandbox", "--fault", "product")

        lines = ended.out.splitlines()
        place = next(place for place, line in enumerate(lines) if line.startswith("failed"))
        assert lines[place] == "failed      product       the account is on no Portfolio Margin (-21001)"
        assert lines[place + 1] == f"{' ' * 26}-> Enable Portfolio Margin, then make a new key: older"
        assert max(map(len, lines)) <= 80

    def test_a_fault_as_json(self, run: Any) -> None:
        """Whatever the local exchange can do wrong; several at once."""
        ended = run("doctor", "--sandbox", "--json", "--fault", '{"skew": -60}', "--fault", "others")

        assert (ended.code, verdicts(ended)["clock"], verdicts(ended)["budget"]) == (1, "failed", "warning")
        assert "60.0 s ahead" in check(ended, "clock")["finding"]

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (("--sandbox", "--base-url", "http://127.0.0.1:1"), "--sandbox excludes --accounts and --base-url."),
            (("--sandbox", "--accounts", "a.toml"), "--sandbox excludes --accounts and --base-url."),
            (("--fault", "clock"), "--fault needs --sandbox: it is the local exchange that fails."),
            (("--sandbox", "--fault", "nope"), f"There is no fault 'nope': there are {', '.join(FAULTS)}, or a Fault"),
            (("--sandbox", "--fault", '{"nope": 1}'), "--fault: Object contains unknown field `nope`"),
            (
                ("--sandbox", "--fault", '{"external_usage": {"nope": 1}}'),
                "--fault: no such pool: nope; there are papi",
            ),
            (("--sandbox", "--fault", "{"), "--fault: Input data was truncated"),
        ],
    )
    def test_wrong_usage(self, run: Any, arguments: tuple[str, ...], why: str) -> None:
        """One line says what is wrong."""
        ended = run("doctor", *arguments)

        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert why in ended.err


class TestOwnKey:
    """With the keys of the environment."""

    @pytest.mark.pm_sandbox(accounts=1)
    def test_reads_only_and_says_where_the_key_is_from(self, run: Any, pm_sandbox: Sandbox) -> None:
        """Nothing of the key is shown; whatever is sent is a query."""
        environment = environment_of(pm_sandbox)
        ended = run("doctor", "--json", **environment)

        told = check(ended, "configuration")["finding"]
        assert ended.code == 0
        assert re.fullmatch("key [0-9a-f]{8} from BINANCE_PM_API_KEY and BINANCE_PM_API_SECRET", told)
        assert {arrival.method for arrival in pm_sandbox.exchange.requests} == {"GET"}
        assert not any(environment[name][:12] in ended.out for name in ("BINANCE_PM_API_KEY", "BINANCE_PM_API_SECRET"))
        # Where the minute turned meanwhile, less was used in it.
        assert pm_sandbox.exchange.used("papi") <= 22

    @pytest.mark.pm_sandbox(accounts=1)
    @pytest.mark.parametrize(("kind", "name"), [("ed25519", "Ed25519"), ("rsa", "RSA of 2048 bits")])
    def test_private_keys(self, run: Any, pm_sandbox: Sandbox, tmp_path: Path, kind: str, name: str) -> None:
        """From their file; the kind is told."""
        key = getattr(pm_sandbox.accounts[0], kind)
        file = tmp_path / "key.pem"
        file.touch(mode=0o600)
        file.write_text(key.secret)
        environment = {
            "BINANCE_PM_API_KEY": key.api_key,
            "BINANCE_PM_PRIVATE_KEY_FILE": str(file),
            "BINANCE_PM_BASE_URL": pm_sandbox.base_url,
        }

        assert check(run("doctor", "--json", **environment), "key")["finding"].startswith(f"{name}, ")
        file.chmod(0o644)
        refused = run("doctor", "--json", **environment)
        assert (refused.code, check(refused, "configuration")["verdict"]) == (1, "failed")
        assert "can be read by all users" in check(refused, "configuration")["finding"]

    @pytest.mark.pm_sandbox(accounts=1)
    def test_no_key(self, run: Any, pm_sandbox: Sandbox) -> None:
        """The way is looked at all the same."""
        ended = run("doctor", "--json", "--base-url", pm_sandbox.base_url)

        found = verdicts(ended)
        assert (ended.code, found["configuration"], found["clock"], found["egress"]) == (1, "failed", "ok", "ok")
        assert check(ended, "configuration")["finding"] == "BINANCE_PM_API_KEY is not set"
        assert {found[name] for name in ("key", "permissions", "product", "account")} == {"not checked"}

    @pytest.mark.pm_sandbox(accounts=1)
    def test_a_key_with_something_around_it(self, run: Any, pm_sandbox: Sandbox) -> None:
        """It is not sent."""
        environment = environment_of(pm_sandbox)
        ended = run("doctor", "--json", **environment | {"BINANCE_PM_API_SECRET": f'"{"s" * 64}"'})

        assert (ended.code, check(ended, "key")["advice"]) == (1, "Take the quotes away.")
        assert check(ended, "permissions")["verdict"] == "not checked"
        assert [arrival.account for arrival in pm_sandbox.exchange.requests] == [None, None]

    @pytest.mark.pm_sandbox(accounts=1)
    def test_a_key_that_nobody_knows(self, run: Any, pm_sandbox: Sandbox) -> None:
        """The exchange itself refuses it."""
        ended = run("doctor", "--json", **environment_of(pm_sandbox) | {"BINANCE_PM_API_KEY": "k" * 64})

        assert (ended.code, check(ended, "permissions")["verdict"]) == (1, "failed")
        assert "-2015" in check(ended, "permissions")["finding"]
        assert check(ended, "product")["verdict"] == "not checked"

    def test_two_secrets(self, run: Any) -> None:
        """Neither is chosen."""
        with refusing_port() as port:
            url = f"http://127.0.0.1:{port}"
            ended = run("doctor", "--json", "--base-url", url, BINANCE_PM_PRIVATE_KEY_FILE="key.pem", **KEYS)

        assert check(ended, "configuration")["advice"] == "Unset one."

    def test_an_address_that_is_not_the_exchanges(self, run: Any) -> None:
        """Nothing is sent there; one line says so."""
        ended = run("doctor", "--base-url", "https://papi.example", **KEYS)

        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert "is not the exchange's" in ended.err


class TestWay:
    """What can stand between here and the exchange."""

    def test_connection_refused(self, run: Any) -> None:
        """Nobody listens there; all that needs an answer is not checked."""
        with refusing_port() as port:
            ended = run("doctor", "--json", "--base-url", f"http://127.0.0.1:{port}", **KEYS)

        found = verdicts(ended)
        assert (ended.code, [name for name, verdict in found.items() if verdict == "failed"]) == (1, ["egress"])
        assert check(ended, "egress")["finding"] == f"127.0.0.1:{port}: connection refused"
        assert check(ended, "egress")["advice"] == f"Let this machine connect to 127.0.0.1, port {port}."
        assert [found[name] for name in ("configuration", "key")] == ["ok", "ok"]

    def test_no_name_server(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both hosts of the exchange are told."""

        def fail(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        ended = run("doctor", "--json", **KEYS)

        assert ended.code == 1
        for host in ("papi.binance.com", "api.binance.com"):
            told = check(ended, "egress", host)
            assert told["finding"] == f"{host}: name not resolved"
            assert "name server" in told["advice"]

    @pytest.mark.usefixtures("impatient")
    def test_a_name_server_that_hangs(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is not waited for, not even at the end."""
        done = threading.Event()

        def hang(*_: object, **__: object) -> list[object]:
            done.wait(60)
            return []

        monkeypatch.setattr(socket, "getaddrinfo", hang)
        began = time.monotonic()
        try:
            ended = run("doctor", "--json", **KEYS)
        finally:
            done.set()

        assert time.monotonic() - began < 10
        assert "name not resolved within 0.4 s" in check(ended, "egress", "papi.binance.com")["finding"]

    @pytest.mark.usefixtures("impatient")
    def test_somebody_who_never_answers(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is given up after a while."""
        brief = Timeouts(connect=0.3, read=0.3, total=0.5)
        monkeypatch.setattr("binance_pm.doctor.examination._TIMEOUTS", brief)
        with serve_raw(silent) as server:
            plain = run("doctor", "--json", "--base-url", server.url, **KEYS)
            secure = run("doctor", "--json", "--base-url", server.url.replace("http", "https"), **KEYS)

        assert "no handshake within 0.4 s" in check(secure, "tls")["finding"]
        assert (check(plain, "egress")["verdict"], secure.code) == ("ok", 1)

    def test_tls(self, run: Any, pm_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Version, issuer and expiry are told of a certificate that is trusted."""
        trusted = make_certificate(tmp_path, days=90)
        monkeypatch.setattr("certifi.where", lambda: str(trusted))
        with serve_raw(encrypting(pm_sandbox.base_url, trusted)) as server:
            url = server.url.replace("http", "https")
            ended = run("doctor", "--json", **environment_of(pm_sandbox) | {"BINANCE_PM_BASE_URL": url})

        assert (ended.code, check(ended, "permissions")["verdict"]) == (0, "ok")
        told = check(ended, "tls")["finding"]
        assert re.search(r"TLSv1\.3, certificate issued by Test House, until \d{4}-\d\d-\d\d$", told)

    def test_a_certificate_that_soon_expires(
        self, run: Any, pm_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is no failure yet."""
        trusted = make_certificate(tmp_path, days=3)
        monkeypatch.setattr("certifi.where", lambda: str(trusted))
        with serve_raw(encrypting(pm_sandbox.base_url, trusted)) as server:
            url = server.url.replace("http", "https")
            ended = run("doctor", "--json", **environment_of(pm_sandbox) | {"BINANCE_PM_BASE_URL": url})

        assert (ended.code, check(ended, "tls")["verdict"]) == (0, "warning")

    @pytest.mark.parametrize(
        ("made", "trust", "what", "advice"),
        [
            (
                {"issuer": "Corp Inspection"},
                False,
                "vouches for the certificate, issued by Corp Insp",
                "TLS inspection",
            ),
            ({"days": -2}, True, "issued by Test House is not valid now. It was valid until", "machine's clock"),
            ({"host": "other.example"}, True, "issued by Test House is for other.example", "somebody else answers"),
        ],
        ids=["self-signed", "expired", "wrong host"],
    )
    def test_a_certificate_that_is_refused(
        self,
        run: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        made: dict[str, Any],
        trust: bool,  # noqa: FBT001 - pytest's parameters are positions
        what: str,
        advice: str,
    ) -> None:
        """Who issued it is seen although nobody vouches for it, and no request is sent."""
        arrived: list[bytes] = []
        certificate = make_certificate(tmp_path, **made)
        if trust:
            monkeypatch.setattr("certifi.where", lambda: str(certificate))
        with (
            serve_raw(lambda connection: arrived.append(connection.recv(100))) as inside,
            serve_raw(encrypting(inside.url, certificate)) as server,
        ):
            ended = run("doctor", "--json", "--base-url", server.url.replace("http", "https"), **KEYS)

        told = check(ended, "tls")
        assert (ended.code, told["verdict"], b"".join(arrived)) == (1, "failed", b"")
        assert what in told["finding"]
        assert advice in told["advice"]
        assert verdicts(ended)["clock"] == "not checked"

    @pytest.mark.parametrize("behaviour", [in_the_clear, hanging_up])
    def test_no_tls(self, run: Any, behaviour: Behaviour) -> None:
        """Something else answers there."""
        with serve_raw(behaviour) as server:
            ended = run("doctor", "--json", "--base-url", server.url.replace("http", "https"), **KEYS)

        assert (ended.code, check(ended, "tls")["verdict"]) == (1, "failed")
        assert "does not speak TLS" in check(ended, "tls")["finding"]


class TestProxies:
    """Those that the environment names."""

    @pytest.mark.pm_sandbox(accounts=1)
    def test_they_are_not_used(self, run: Any, pm_sandbox: Sandbox) -> None:
        """It is a warning: people believe that they are. Its password is not shown."""
        ended = run("doctor", "--json", HTTPS_PROXY="http://u:canary@127.0.0.1:9", **environment_of(pm_sandbox))

        told = check(ended, "egress")
        assert (ended.code, told["verdict"]) == (0, "warning")
        assert told["finding"].endswith("; HTTPS_PROXY names a proxy, which is not used")
        assert "canary" not in ended.out

    def test_they_may_be_the_way_out(self, run: Any) -> None:
        """Where the direct way does not lead anywhere, the one thing to try is the proxy."""
        with refusing_port() as port:
            url = f"https://127.0.0.1:{port}"
            ended = run("doctor", "--json", "--base-url", url, https_proxy="http://127.0.0.1:9", **KEYS)

        assert check(ended, "egress")["advice"].startswith("Use the proxy of https_proxy")

    def test_a_proxy_that_is_used(
        self, run: Any, pm_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With --trust-env; certificates are checked through the tunnel, and may be the environment's too."""
        seen = Seen()
        trusted = make_certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        with (
            serve_raw(encrypting(pm_sandbox.base_url, trusted)) as server,
            serve_raw(connect_proxy(seen, {server.place: server.place}, user="user:canary")) as proxy,
        ):
            url = server.url.replace("http", "https")
            environment = environment_of(pm_sandbox) | {"BINANCE_PM_BASE_URL": url}
            proxy_url = proxy.url.replace("//", "//user:canary@")
            ended = run("doctor", "--json", "--trust-env", https_proxy=proxy_url, **environment)

        assert (ended.code, check(ended, "tls")["verdict"], check(ended, "permissions")["verdict"]) == (0, "ok", "ok")
        assert f"by the proxy {proxy.url.partition('//')[2]} (IPv4 127.0.0.1)" in check(ended, "egress")["finding"]
        assert set(seen.places) == {server.place}
        assert "canary" not in ended.out

    @pytest.mark.parametrize(
        ("behaviour", "what"),
        [
            (answering(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "answered 407 to CONNECT"),
            (answering(b"SSH-2.0-OpenSSH\r\n\r\n"), "it answered something else to CONNECT"),
            (answering(), "opened no tunnel"),
            (silent, "opened no tunnel"),
        ],
    )
    @pytest.mark.usefixtures("impatient")
    def test_a_broken_proxy(self, run: Any, behaviour: Behaviour, what: str) -> None:
        """It is told apart from a broken exchange."""
        with serve_raw(behaviour) as proxy:
            url = "https://127.0.0.1:9"
            ended = run("doctor", "--json", "--trust-env", "--base-url", url, https_proxy=proxy.url, **KEYS)

        told = check(ended, "egress")
        assert (ended.code, told["verdict"]) == (1, "failed")
        assert what in told["finding"]
        assert "Correct the proxy" in told["advice"]

    @pytest.mark.parametrize(
        ("proxy", "what"),
        [
            ("http://127.0.0.1:{port}", "the proxy 127.0.0.1:{port}: connection refused"),
            ("http://127.0.0.1:nope", "https_proxy has a port that is not a number"),
            ("http://[bad", "https_proxy has no host"),
            ("carrier://pigeon", "https_proxy has a scheme other than"),
            ("socks5://127.0.0.1:{port}", "the proxy 127.0.0.1:{port}: connection refused"),
        ],
    )
    def test_a_proxy_that_is_none(self, run: Any, proxy: str, what: str) -> None:
        """Whatever the variable holds."""
        with refusing_port() as port:
            url = "https://127.0.0.1:9"
            named = proxy.format(port=port)
            ended = run("doctor", "--json", "--trust-env", "--base-url", url, https_proxy=named, **KEYS)

        assert (ended.code, check(ended, "egress")["verdict"]) == (1, "failed")
        assert what.format(port=port) in check(ended, "egress")["finding"]

    def test_certificates_of_the_environment_that_are_none(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """One line says so."""
        monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
        ended = run("doctor", "--trust-env", **KEYS)

        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert "the certificates that the environment names cannot be read" in ended.err


FILE = """
[[accounts]]
label = "span"
product = "span"
api_key = { env = "K1" }
api_secret = { env = "S1" }

[[accounts]]
label = "not-pm"
product = "pm"
api_key = { env = "K2" }
api_secret = { env = "S2" }

[[accounts]]
label = "unset"
product = "pm"
api_key = { env = "NONE" }
api_secret = { env = "S1" }

[[accounts]]
label = "cut"
product = "span"
api_key = { env = "S2" }
api_secret = { env = "CUT" }

[[accounts]]
label = "wrong"
product = "spot"
api_key = { env = "K1" }
api_secret = { env = "S1" }
"""


class TestAccounts:
    """With an accounts file."""

    @pytest.mark.pm_sandbox(accounts=3)
    def test_every_account_is_checked(self, run: Any, pm_sandbox: Sandbox, tmp_path: Path) -> None:
        """Failures of one stop no other, and each line has its account."""
        path = tmp_path / "accounts.toml"
        path.write_text(FILE, encoding="utf-8")
        one, other, third = pm_sandbox.accounts
        pm_sandbox.inject(
            *(
                Fault(path=at, account=other.label, status=400, code=code, msg="refused", times=None)
                for at, code in (("/papi/v1/account", -2015), ("/papi/v2/um/account", -2015))
            )
        )
        environment = {"K1": one.api_key, "S1": one.api_secret, "K2": other.api_key, "S2": other.api_secret}
        ended = run("doctor", "--accounts", str(path), "--base-url", pm_sandbox.base_url, "--json",
                    **environment, CUT=f"{third.api_secret} ")  # fmt: skip

        assert ended.code == 1
        assert (
            check(ended, "product", "span")["finding"] == "Portfolio Margin Pro SPAN (span): span_account can be read"
        )
        assert check(ended, "account", "span")["verdict"] == "ok"
        refused = check(ended, "product", "not-pm")
        assert (refused["verdict"], refused["advice"]) == ("failed", 'Write product = "span" in the accounts file.')
        assert check(ended, "configuration", "unset")["finding"].endswith("api_key: the variable NONE is not set")
        assert "product is none of pm, pm_pro, span" in check(ended, "configuration", "wrong")["finding"]
        # Of what the file does not lead to, nothing else is told.
        assert [one["name"] for one in checks_of(ended) if one["target"] in {"unset", "wrong"}] == ["configuration"] * 2
        assert check(ended, "permissions", "cut")["verdict"] == "failed"
        shared = [one["name"] for one in checks_of(ended) if one["name"] in {"clock", "egress", "tls", "limits"}]
        assert shared == ["clock", "egress", "tls", "limits"]

    @pytest.mark.pm_sandbox(accounts=1)
    def test_as_text_each_line_begins_with_the_label(self, run: Any, pm_sandbox: Sandbox, tmp_path: Path) -> None:
        """So that `grep` finds it."""
        path = tmp_path / "accounts.toml"
        path.write_text(FILE.partition("\n\n[[")[0], encoding="utf-8")
        keys = {"K1": pm_sandbox.accounts[0].api_key, "S1": pm_sandbox.accounts[0].api_secret}
        ended = run("doctor", "--accounts", str(path), BINANCE_PM_BASE_URL=pm_sandbox.base_url, **keys)

        assert (ended.code, max(map(len, ended.out.splitlines())) <= 80) == (0, True)
        assert "ok          account       span: NORMAL, uniMMR 2.40\n" in ended.out
        assert "configuration span: key " in ended.out

    def test_a_file_that_cannot_be_read(self, run: Any, tmp_path: Path) -> None:
        """One line says why."""
        ended = run("doctor", "--accounts", str(tmp_path / "none.toml"))

        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert "cannot be read" in ended.err


# A resolver that hangs, as with a dead name server.
HANGING = """
import socket, sys, time
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
sys.argv = ["binance-pm", "doctor"]
from binance_pm.cli import main
main()
"""


@pytest.mark.usefixtures("interruptible")
class TestHouse:
    """What every command owes its user."""

    def test_an_interrupt_ends_it(self) -> None:
        """While somebody does not answer."""
        with serve_raw(silent) as server, at_terminal("doctor", "--base-url", server.url, **KEYS) as screen:
            screen.wait_for("configuration")
            screen.interrupt()

        assert (screen.code, "Traceback" in screen.text) == (130, False)

    def test_an_interrupt_does_not_wait_for_the_name_server(self) -> None:
        """Its thread cannot be stopped, and is left."""
        process = subprocess.Popen(
            [sys.executable, "-c", HANGING],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=NO_KEYS | KEYS, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        first = process.stdout.readline()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)

        assert (process.returncode, err, "configuration" in first) == (130, "", True)
        assert time.monotonic() - began < 4

    @pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}], ids=str)
    def test_at_a_terminal(self, environment: dict[str, str]) -> None:
        """Colours are used where there are any."""
        with at_terminal("doctor", "--sandbox", **environment) as screen:
            screen.wait_for("limits")
            screen.end()

        assert (screen.code, "\x1b[32mok" in screen.text) == (0, not environment)
        plain = re.sub(r"\x1b\[[\d;]*m", "", screen.text)
        assert max(map(len, plain.splitlines())) <= 80

    def test_nobody_reads_on(self) -> None:
        """As with `head`."""
        command = subprocess.Popen(
            [*COMMAND, "doctor", "--sandbox"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
        )
        assert command.stdout is not None
        command.stdout.close()
        _, err = command.communicate(timeout=20)

        assert (command.returncode, err) == (0, b"")
