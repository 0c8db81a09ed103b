"""``binance-pm doctor`` against real sockets; tests/messages has the texts of all findings."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, get_args

import pytest

from binance_pm.cli.doctor_faults import FAULTS
from binance_pm.doctor import CheckName
from binance_pm.doctor.network import check_network, network_path
from binance_pm.testing import Fault, Sandbox
from tests.support.certificates import make_certificate
from tests.support.command import NO_KEYS, Outcome, at_terminal, environment_of
from tests.support.proxies import Seen, connect_proxy, encrypting
from tests.support.raw_server import Behaviour, refusing_port, serve_raw, silent

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "no_proxy", "NO_PROXY")
KEYS = {"BINANCE_PM_API_KEY": "k" * 64, "BINANCE_PM_API_SECRET": "s" * 64}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxies of this machine."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def checks_of(ended: Outcome) -> list[dict[str, Any]]:
    """Return the checks of an output in JSON."""
    assert ended.err == ""
    return [json.loads(line) for line in ended.out.splitlines()]


def check(ended: Outcome, name: str, target: str | None = None) -> dict[str, Any]:
    """Return the check with a name, of one target if there are several."""
    (found,) = [one for one in checks_of(ended) if one["name"] == name and target in {None, one["target"]}]
    return found


def verdicts(ended: Outcome) -> dict[str, str]:
    """Return the verdicts by name."""
    return {one["name"]: one["verdict"] for one in checks_of(ended)}


def over_tls(url: str) -> str:
    """Return the URL with https."""
    return url.replace("http:", "https:")


class TestSandbox:
    """``--sandbox``."""

    def test_text_has_every_check_in_order(self, run: Any) -> None:
        """The lines fit 80 columns, and nothing fails."""
        ended = run("doctor", "--sandbox")

        names = [line[12:26].strip() for line in ended.out.splitlines() if line[:1] != " "]
        assert (ended.code, ended.err, max(map(len, ended.out.splitlines())) <= 80) == (0, "", True)
        assert names == list(get_args(CheckName))
        assert "\x1b" not in ended.out

    def test_json_has_one_object_per_check(self, run: Any) -> None:
        """Only TLS is not checked, because the local exchange uses http."""
        ended = run("doctor", "--sandbox", "--json")

        found = verdicts(ended)
        assert (ended.code, list(found)) == (0, list(get_args(CheckName)))
        assert {name for name, verdict in found.items() if verdict != "ok"} == {"tls"}
        assert check(ended, "permissions")["finding"].endswith("account, span_account, pro_account")
        assert "(span)" in check(ended, "product")["finding"]
        assert check(ended, "limits")["finding"].endswith(" 32")

    # The fault, the check that reports it, its verdict, and the exit code.
    FAULTY = (
        ("clock", "clock", "failed", "300.0 s behind", 1),
        ("slow", "clock", "warning", "round trip 1.2 s", 0),
        ("silent", "clock", "failed", "", 1),
        ("place", "clock", "failed", "451", 1),
        ("portal", "clock", "failed", "", 1),
        ("key", "permissions", "failed", "-2014", 1),
        ("permission", "permissions", "failed", "-2015", 1),
        ("signature", "permissions", "failed", "-1022", 1),
        ("timestamp", "permissions", "failed", "-1021", 1),
        ("product", "product", "failed", "-21001", 1),
        ("external", "budget", "warning", r"3,9.. of 6,000 on /papi", 0),
        ("danger", "account", "warning", "MARGIN_CALL, uniMMR 1.30", 0),
        ("limit", "limits", "failed", "429", 1),
        ("ban", "limits", "failed", "banned", 1),
    )

    @pytest.mark.parametrize(("fault", "name", "verdict", "what", "code"), FAULTY)
    def test_each_fault_is_reported_once(
        self, run: Any, fault: str, name: str, verdict: str, what: str, code: int
    ) -> None:
        """One check has finding and advice; the other checks succeed, or are not made."""
        ended = run("doctor", "--sandbox", "--fault", fault, "--json")

        found = check(ended, name)
        assert (ended.code, found["verdict"], bool(found["advice"])) == (code, verdict, True)
        assert re.search(what, found["finding"])
        # A refusal of the IP fails the first call as well.
        failing = {name for name, verdict in verdicts(ended).items() if verdict in {"failed", "warning"}}
        assert failing == ({name, "clock"} if fault in {"limit", "ban"} else {name})

    def test_the_table_has_every_fault(self) -> None:
        """A new fault needs a row."""
        assert {fault for fault, *_ in self.FAULTY} == set(FAULTS)

    def test_a_silent_host_gets_no_further_requests(self, run: Any) -> None:
        """The checks that need a response are not made."""
        found = verdicts(run("doctor", "--sandbox", "--fault", "silent", "--json"))

        unchecked = {name for name, verdict in found.items() if verdict == "not checked"}
        assert unchecked == {"tls", "permissions", "product", "budget", "account", "limits"}

    def test_text_has_the_advice_below_the_finding(self, run: Any) -> None:
        """Both are wrapped beside verdict and name."""
        lines = run("doctor", "--sandbox", "--fault", "product").out.splitlines()

        place = next(place for place, line in enumerate(lines) if line.startswith("failed      product       the "))
        assert lines[place + 1].startswith(f"{' ' * 26}-> Enable")
        assert lines[place + 2].startswith(" " * 29)
        assert max(map(len, lines)) <= 80

    def test_several_faults(self, run: Any) -> None:
        """A fault may be JSON."""
        ended = run("doctor", "--sandbox", "--json", "--fault", '{"skew": -60}', "--fault", "external")

        assert (ended.code, verdicts(ended)["clock"], verdicts(ended)["budget"]) == (1, "failed", "warning")
        assert "60.0 s ahead" in check(ended, "clock")["finding"]

    @pytest.mark.parametrize(
        "arguments",
        [("--sandbox", "--base-url", "http://127.0.0.1:1"), ("--sandbox", "--fault", "{")],
    )
    def test_wrong_usage(self, run: Any, arguments: tuple[str, ...]) -> None:
        """One line says what is wrong; tests/messages has more."""
        ended = run("doctor", *arguments)

        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)


class TestKeys:
    """The keys of the environment."""

    @pytest.mark.pm_sandbox(accounts=1)
    def test_only_reads_are_sent(self, run: Any, pm_sandbox: Sandbox) -> None:
        """The source and a digest of the key are shown, never the key."""
        environment = environment_of(pm_sandbox)
        ended = run("doctor", "--json", **environment)

        found = check(ended, "configuration")["finding"]
        assert ended.code == 0
        assert re.fullmatch("key [0-9a-f]{8} from BINANCE_PM_API_KEY and BINANCE_PM_API_SECRET", found)
        assert {arrival.method for arrival in pm_sandbox.exchange.requests} == {"GET"}
        assert not any(environment[name][:12] in ended.out for name in ("BINANCE_PM_API_KEY", "BINANCE_PM_API_SECRET"))
        # If a minute has ended meanwhile, less was used in the new one.
        assert pm_sandbox.exchange.used("papi") <= 22

    @pytest.mark.pm_sandbox(accounts=1)
    @pytest.mark.parametrize(("kind", "name"), [("ed25519", "Ed25519"), ("rsa", "RSA of 2048 bits")])
    def test_private_keys_are_read_from_their_file(
        self, run: Any, pm_sandbox: Sandbox, tmp_path: Path, kind: str, name: str
    ) -> None:
        """A file that others can read is refused."""
        key = getattr(pm_sandbox.accounts[0], kind)
        file = tmp_path / "key.pem"
        file.touch(mode=0o600)
        file.write_text(key.secret)
        environment = {
            "BINANCE_PM_API_KEY": key.api_key,
            "BINANCE_PM_PRIVATE_KEY_FILE": str(file),
            "BINANCE_PM_BASE_URL": pm_sandbox.base_url,
        }
        accepted = run("doctor", "--json", **environment)
        file.chmod(0o644)
        refused = run("doctor", "--json", **environment)

        assert check(accepted, "key")["finding"].startswith(f"{name}, ")
        assert (refused.code, verdicts(refused)["configuration"]) == (1, "failed")

    @pytest.mark.pm_sandbox(accounts=1)
    @pytest.mark.parametrize(
        ("changes", "failing", "arrived"),
        [
            ({"BINANCE_PM_API_KEY": ""}, "configuration", [None, None]),
            ({"BINANCE_PM_API_SECRET": f'"{"s" * 64}"'}, "key", [None, None]),
            ({"BINANCE_PM_API_KEY": "k" * 64}, "permissions", None),
        ],
    )
    def test_a_key_with_a_flaw_is_not_sent(
        self, run: Any, pm_sandbox: Sandbox, changes: dict[str, str], failing: str, arrived: list[None] | None
    ) -> None:
        """The hosts are checked without a key; only the exchange can refuse a key in the right format."""
        ended = run("doctor", "--json", **environment_of(pm_sandbox) | changes)

        found = verdicts(ended)
        assert (ended.code, found["egress"], found["clock"], found[failing]) == (1, "ok", "ok", "failed")
        assert (found["product"], found["account"]) == ("not checked", "not checked")
        assert arrived is None or [request.account for request in pm_sandbox.exchange.requests] == arrived

    def test_only_the_exchange_and_this_machine_are_checked(self, run: Any) -> None:
        """One line says so, and nothing is sent."""
        ended = run("doctor", "--base-url", "https://papi.example", **KEYS)

        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)


def hanging_up(connection: socket.socket) -> None:
    """Read the start of a request, and close the connection."""
    connection.recv(100)


class TestNetwork:
    """The path to the exchange."""

    def test_an_unreachable_host_fails_only_egress(self, run: Any) -> None:
        """All checks that need a response are not made."""
        with refusing_port() as port:
            ended = run("doctor", "--json", "--base-url", f"http://127.0.0.1:{port}", **KEYS)

        found = verdicts(ended)
        assert (ended.code, [name for name, verdict in found.items() if verdict == "failed"]) == (1, ["egress"])
        assert [name for name, verdict in found.items() if verdict == "ok"] == ["configuration", "key"]

    def test_a_name_server_that_does_not_respond_is_not_waited_for(
        self, run: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Both hosts of the exchange are reported, and the thread of the resolver does not delay the end."""
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
        for host in ("papi.binance.com", "api.binance.com"):
            assert "name not resolved within 5 s" in check(ended, "egress", host)["finding"]

    @pytest.mark.parametrize(
        ("behaviour", "what"), [(silent, "no handshake within 0.3 s"), (hanging_up, "does not complete a TLS")]
    )
    async def test_a_server_without_tls(self, behaviour: Behaviour, what: str) -> None:
        """Each step has a time limit."""
        with serve_raw(behaviour) as server:
            route = network_path(over_tls(server.url), trust_env=False)
            egress, tls = await check_network(route, ssl.create_default_context(), seconds=0.3)

        assert (egress.verdict, tls.verdict) == ("ok", "failed")
        assert what in tls.finding

    async def test_a_proxy_that_does_not_respond(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The step of the tunnel has a time limit as well."""
        with serve_raw(silent) as proxy:
            monkeypatch.setenv("https_proxy", proxy.url)
            route = network_path("https://papi.binance.com", trust_env=True)
            egress, tls = await check_network(route, ssl.create_default_context(), seconds=0.3)

        assert (egress.verdict, tls.verdict) == ("failed", "not checked")
        assert "CONNECT" in egress.finding

    def test_a_trusted_certificate(
        self, run: Any, pm_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """TLS version, issuer and expiry are shown, and the key is checked over TLS."""
        trusted = make_certificate(tmp_path, days=90)
        monkeypatch.setattr("certifi.where", lambda: str(trusted))
        with serve_raw(encrypting(pm_sandbox.base_url, trusted)) as server:
            environment = environment_of(pm_sandbox) | {"BINANCE_PM_BASE_URL": over_tls(server.url)}
            ended = run("doctor", "--json", **environment)

        assert (ended.code, verdicts(ended)["permissions"]) == (0, "ok")
        assert re.search(r"TLSv1\.3.* Test House, .* \d{4}-\d\d-\d\d$", check(ended, "tls")["finding"])

    def test_nothing_is_sent_to_a_server_with_an_untrusted_certificate(self, run: Any, tmp_path: Path) -> None:
        """The issuer is shown although it is not trusted."""
        arrived: list[bytes] = []
        certificate = make_certificate(tmp_path, issuer="Corp Inspection")
        with (
            serve_raw(lambda connection: arrived.append(connection.recv(100))) as inside,
            serve_raw(encrypting(inside.url, certificate)) as server,
        ):
            ended = run("doctor", "--json", "--base-url", over_tls(server.url), **KEYS)

        found = check(ended, "tls")
        assert (ended.code, found["verdict"], verdicts(ended)["clock"]) == (1, "failed", "not checked")
        assert b"".join(arrived) == b""
        assert "Corp Inspection" in found["finding"]

    @pytest.mark.pm_sandbox(accounts=1)
    def test_an_unused_proxy_is_a_warning(self, run: Any, pm_sandbox: Sandbox) -> None:
        """The password of the proxy is not shown."""
        ended = run("doctor", "--json", HTTPS_PROXY="http://u:canary@127.0.0.1:9", **environment_of(pm_sandbox))

        assert (ended.code, verdicts(ended)["egress"], "canary" in ended.out) == (0, "warning", False)
        assert "HTTPS_PROXY" in check(ended, "egress")["finding"]

    def test_a_proxy_with_trust_env(
        self, run: Any, pm_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The certificate is checked through the tunnel, against the certificates of the environment."""
        seen = Seen()
        trusted = make_certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        with (
            serve_raw(encrypting(pm_sandbox.base_url, trusted)) as server,
            serve_raw(connect_proxy(seen, {server.place: server.place}, user="user:canary")) as proxy,
        ):
            environment = environment_of(pm_sandbox) | {"BINANCE_PM_BASE_URL": over_tls(server.url)}
            proxy_url = proxy.url.replace("//", "//user:canary@")
            ended = run("doctor", "--json", "--trust-env", https_proxy=proxy_url, **environment)

        found = verdicts(ended)
        assert (ended.code, found["tls"], found["permissions"]) == (0, "ok", "ok")
        assert f"{proxy.url.partition('//')[2]} (IPv4 127.0.0.1)" in check(ended, "egress")["finding"]
        assert set(seen.places) == {server.place}
        assert "canary" not in ended.out

    @pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:{port}", "http://[bad", "carrier://pigeon"])
    def test_a_proxy_that_cannot_be_used(self, run: Any, proxy: str) -> None:
        """The proxy is named, not the exchange; tests/messages has more."""
        with refusing_port() as port:
            named = proxy.format(port=port)
            ended = run(
                "doctor", "--json", "--trust-env", "--base-url", "https://127.0.0.1:9", https_proxy=named, **KEYS
            )

        found = check(ended, "egress")
        assert (ended.code, found["verdict"]) == (1, "failed")
        assert "proxy" in found["finding"]


class TestAccounts:
    """``--accounts``."""

    @staticmethod
    def table(label: str, product: str, key: str, secret: str) -> str:
        """Return an account of the file, with its keys in variables."""
        sources = f'api_key = {{ env = "{key}" }}\napi_secret = {{ env = "{secret}" }}\n'
        return f'[[accounts]]\nlabel = "{label}"\nproduct = "{product}"\n{sources}'

    @pytest.mark.pm_sandbox(accounts=3)
    def test_a_failing_account_does_not_stop_the_others(self, run: Any, pm_sandbox: Sandbox, tmp_path: Path) -> None:
        """An account without a usable key has only its configuration, and the network is checked once."""
        path = tmp_path / "accounts.toml"
        accounts = [
            ("span", "span", "K1", "S1"),
            ("not-pm", "pm", "K2", "S2"),
            ("unset", "pm", "NONE", "S1"),
            ("cut", "span", "S2", "CUT"),
            ("wrong", "spot", "K1", "S1"),
        ]
        path.write_text("".join(self.table(*account) for account in accounts), encoding="utf-8")
        one, other, third = pm_sandbox.accounts
        refused = ("/papi/v1/account", "/papi/v2/um/account")
        pm_sandbox.inject(
            *(Fault(path=at, account=other.label, status=400, code=-2015, msg="no", times=None) for at in refused)
        )
        environment = {"K1": one.api_key, "S1": one.api_secret, "K2": other.api_key, "S2": other.api_secret}
        ended = run("doctor", "--accounts", str(path), "--base-url", pm_sandbox.base_url, "--json",
                    **environment, CUT=f"{third.api_secret} ")  # fmt: skip

        verdict = {(check["name"], check["target"]): check["verdict"] for check in checks_of(ended)}
        assert (ended.code, verdict["account", "span"], verdict["permissions", "cut"]) == (1, "ok", "failed")
        assert check(ended, "product", "span")["finding"].endswith(": span_account can be read")
        assert check(ended, "product", "not-pm")["advice"] == 'Write product = "span" in the accounts file.'
        assert "NONE" in check(ended, "configuration", "unset")["finding"]
        assert [name for name, target in verdict if target in {"unset", "wrong"}] == ["configuration"] * 2
        names = [check["name"] for check in checks_of(ended)]
        assert [names.count(name) for name in ("clock", "egress", "tls", "limits")] == [1, 1, 1, 1]

    @pytest.mark.pm_sandbox(accounts=1)
    def test_text_begins_with_the_label(self, run: Any, pm_sandbox: Sandbox, tmp_path: Path) -> None:
        """The lines of one account can be found with ``grep``."""
        path = tmp_path / "accounts.toml"
        path.write_text(self.table("span", "span", "K1", "S1"), encoding="utf-8")
        keys = {"K1": pm_sandbox.accounts[0].api_key, "S1": pm_sandbox.accounts[0].api_secret}
        ended = run("doctor", "--accounts", str(path), BINANCE_PM_BASE_URL=pm_sandbox.base_url, **keys)

        assert (ended.code, max(map(len, ended.out.splitlines())) <= 80) == (0, True)
        assert "ok          account       span: NORMAL, uniMMR 2.40\n" in ended.out

    def test_a_file_that_cannot_be_read_is_one_line(self, run: Any, tmp_path: Path) -> None:
        """No check is made."""
        ended = run("doctor", "--accounts", str(tmp_path / "none.toml"))

        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)


# A resolver that does not return, as without a name server.
HANGING = """
import socket, sys, time
socket.getaddrinfo = lambda *_, **__: time.sleep(60)
sys.argv = ["binance-pm", "doctor"]
from binance_pm.cli import main
main()
"""


@pytest.mark.usefixtures("interruptible")
class TestTerminal:
    """Interrupts and colours."""

    def test_ctrl_c_ends_a_wait_for_a_response(self) -> None:
        """The exit code is 130, without a traceback."""
        with serve_raw(silent) as server, at_terminal("doctor", "--base-url", server.url, **KEYS) as screen:
            screen.wait_for("configuration")
            screen.signal()

        assert (screen.code, "Traceback" in screen.text) == (130, False)

    def test_ctrl_c_does_not_wait_for_the_name_server(self) -> None:
        """The thread of the resolver cannot be stopped, and is abandoned."""
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
    def test_verdicts_have_colours_unless_switched_off(self, environment: dict[str, str]) -> None:
        """The lines fit the terminal either way."""
        with at_terminal("doctor", "--sandbox", **environment) as screen:
            screen.wait_for("limits")
            screen.end()

        assert (screen.code, "\x1b[32mok" in screen.text) == (0, not environment)
        plain = re.sub(r"\x1b\[[\d;]*m", "", screen.text)
        assert max(map(len, plain.splitlines())) <= 80
