"""``binance-pm doctor --stream`` against real sockets; tests/unit/doctor has the bad case of each finding."""

from __future__ import annotations

import hashlib
import json
import logging
import ssl
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import anyio
import pytest
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Response

from binance_pm.cli.doctor_faults import STREAM_FAULTS
from binance_pm.doctor import Check, CheckName, StreamCheckName, StreamOptions, Target, examine
from binance_pm.signing import Secret
from binance_pm.testing import Fault, Sandbox, StreamRules, running_sandbox
from tests.support.certificates import make_certificate
from tests.support.command import Outcome, environment_of
from tests.support.proxies import encrypting
from tests.support.raw_server import refusing_port, serve_raw
from tests.support.stream_server import stream_server
from tests.support.waiting import eventually

SECONDS: Final = "--seconds=1"
LISTEN_KEY: Final = "/papi/v1/listenKey"


def checks_of(ended: Outcome) -> dict[str, dict[str, Any]]:
    """Return the checks of a JSON output for one account by name."""
    assert ended.err == ""
    return {check["name"]: check for check in map(json.loads, ended.out.splitlines())}


def target_of(pm: Sandbox, label: str = "desk", *, place: int = 0, key: str = "hmac", **options: Any) -> Target:
    """Return an account of the local exchange with one of its keys."""
    chosen = getattr(pm.accounts[place], key)
    keys = {"api_key": Secret(chosen.api_key), "secret": Secret(chosen.secret), "is_private_key": key != "hmac"}
    return Target(label=label, origin="here", **keys, **options)


async def examined(
    pm: Sandbox, *targets: Target, url: str | None = None, seconds: float = 0.6, **options: Any
) -> list[Check]:
    """Examine accounts of the local exchange with their streams, by default the first account."""
    checks: list[Check] = []
    await examine(
        targets or [target_of(pm)], checks.append, papi_url=pm.base_url, sapi_url=pm.base_url, budget=pm.budget,
        streams=StreamOptions(seconds=seconds, url=url), **options,
    )  # fmt: skip
    return checks


def by_name(checks: list[Check]) -> dict[str, Check]:
    """Return the checks by name."""
    return {check.name: check for check in checks}


def _close(connection: ServerConnection) -> None:
    """Close a connection with a policy violation."""
    connection.protocol.send_close(1008)
    connection.send_data()


class TestCommand:
    """The command with its own local exchange."""

    def test_every_check_is_reported_in_order(self, run: Any) -> None:
        """The checks of streams come before the budget; an order shows that both connections receive events."""
        ended = run("doctor", "--sandbox", "--stream", SECONDS, "--json")

        found = checks_of(ended)
        usual = [*get_args(CheckName)]
        place = usual.index("budget")
        assert ended.code == 0
        assert list(found) == [*usual[:place], *get_args(StreamCheckName), *usual[place:]]
        verdicts = {name: found[name]["verdict"] for name in get_args(StreamCheckName)}
        assert {name for name, verdict in verdicts.items() if verdict != "ok"} == {
            "server_pings", "key_sharing", "unanswered",
        }  # fmt: skip
        assert "each with the same E" in found["connections"]["finding"]
        assert "equals the T" in found["update_time"]["finding"]
        assert "ORDER_TRADE_UPDATE" in found["events"]["finding"]

    # The fault, the check that reports it, and its verdict.
    FAULTY = (
        ("listen_key", "listen_key", "failed"),
        ("other_key", "listen_key", "warning"),
        ("keepalive", "keepalive", "warning"),
        ("break", "connections", "warning"),
        ("half_open", "pings", "failed"),
        ("one_silent", "connections", "warning"),
        ("garbage", "events", "warning"),
        ("delete_key", "listen_key", "warning"),
        ("expire_key", "listen_key", "warning"),
    )

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize(("fault", "name", "verdict"), FAULTY)
    def test_each_fault_is_reported(self, run: Any, fault: str, name: str, verdict: str) -> None:
        """One check has a finding and advice, and the exit code is 1 if the check failed."""
        ended = run("doctor", "--sandbox", "--stream", SECONDS, "--fault", fault, "--json")

        found = checks_of(ended)[name]
        assert (found["verdict"], bool(found["advice"]), ended.code) == (verdict, True, int(verdict == "failed"))

    def test_the_table_has_every_fault(self) -> None:
        """Every fault has a row in the table of faults."""
        assert {fault for fault, *_ in self.FAULTY} == set(STREAM_FAULTS)

    def test_a_fault_of_streams_as_json(self, run: Any) -> None:
        """A fault given as JSON is applied, and has no effect if the fault names another product."""
        ended = run(
            "doctor", "--sandbox", "--stream", SECONDS, "--json",
            "--fault", '{"kind": "break", "product": "pro"}',
        )  # fmt: skip

        assert checks_of(ended)["connections"]["verdict"] == "ok"

    @pytest.mark.parametrize(
        "arguments",
        [("--seconds=1",), ("--pro",), ("--sandbox", "--fault=break"), ("--stream", "--seconds=0"),
         ("--sandbox", "--stream", '--fault={"kind": "fall"}')],
    )  # fmt: skip
    def test_wrong_usage(self, run: Any, arguments: tuple[str, ...]) -> None:
        """Wrong usage is reported in one line."""
        ended = run("doctor", *arguments)

        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)

    def test_a_pin_of_another_form(self, run: Any) -> None:
        """A pin of another form is reported in one line, and nothing is sent."""
        ended = run("doctor", "--sandbox", "--stream", "--pin", "sha256//canary")

        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert "SHA-256" in ended.err


class TestAccount:
    """The account of the environment."""

    @pytest.mark.pm_sandbox(accounts=1)
    def test_the_listen_key_is_never_deleted_and_never_shown(
        self, run: Any, pm_sandbox: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither the output nor a log shows the listen key, and the weight is the documented one."""
        caplog.set_level(logging.DEBUG)
        ended = run("doctor", "--stream", SECONDS, "--json", **environment_of(pm_sandbox))

        found, requests = checks_of(ended), pm_sandbox.exchange.requests
        keys = [request for request in requests if request.path == LISTEN_KEY]
        (account,) = pm_sandbox.accounts
        active = pm_sandbox.exchange._states[account.label].settings.issued["pm"]
        assert ended.code == 0
        assert [request.method for request in keys] == ["POST", "POST", "PUT", "POST"]
        assert {request.method for request in requests if request not in keys} == {"GET"}
        assert not any(key in ended.out + caplog.text for key in active)
        assert found["events"]["verdict"] == "not checked"
        assert found["limits"]["finding"].endswith(" 61")

    @pytest.mark.pm_sandbox(accounts=1)
    def test_another_server_of_streams(self, run: Any, pm_sandbox: Sandbox) -> None:
        """The network path to another server is checked too; if it fails, no listen key is created."""
        with refusing_port() as port:
            environment = environment_of(pm_sandbox) | {"BINANCE_PM_STREAM_URL": f"ws://127.0.0.1:{port}"}
            ended = run("doctor", "--stream", SECONDS, "--json", **environment)

        found = [json.loads(line) for line in ended.out.splitlines()]
        failed = [check for check in found if check["verdict"] == "failed"]
        unchecked = {check["name"] for check in found if check["verdict"] == "not checked"}
        assert [(check["name"], check["target"]) for check in failed] == [("egress", f"127.0.0.1:{port}")]
        assert set(get_args(StreamCheckName)) <= unchecked
        assert not [request for request in pm_sandbox.exchange.requests if request.path == LISTEN_KEY]

    @pytest.mark.parametrize("is_pinned", [True, False])
    def test_the_certificate_must_match_a_pin(
        self, run: Any, pm_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_pinned: bool
    ) -> None:
        """A certificate without a pin is shown by its fingerprint, and no request is sent."""
        certificate = make_certificate(tmp_path)
        pem = certificate.read_text(encoding="utf-8").partition("-----BEGIN CERTIFICATE-----")
        binary = ssl.PEM_cert_to_DER_cert((pem[1] + pem[2]).partition("-----END CERT")[0] + "-----END CERTIFICATE-----")
        fingerprint = hashlib.sha256(binary).hexdigest()
        monkeypatch.setattr("certifi.where", lambda: str(certificate))
        with (
            serve_raw(encrypting(pm_sandbox.base_url, certificate)) as rest,
            serve_raw(encrypting(pm_sandbox.base_url, certificate)) as streams,
        ):
            environment = environment_of(pm_sandbox) | {
                "BINANCE_PM_BASE_URL": rest.url.replace("http", "https"),
                "BINANCE_PM_STREAM_URL": streams.url.replace("http", "wss"),
            }
            pin = fingerprint.upper() if is_pinned else "0" * 64
            ended = run("doctor", "--stream", SECONDS, "--json", "--pin", pin, **environment)

        of_tls = [check for check in map(json.loads, ended.out.splitlines()) if check["name"] == "tls"]
        assert [check["verdict"] for check in of_tls] == [("ok" if is_pinned else "failed")] * 2
        assert is_pinned or all(fingerprint in check["finding"] for check in of_tls)
        assert is_pinned == bool(pm_sandbox.exchange.requests)
        assert checks_of(ended)["connections"]["verdict"] == ("ok" if is_pinned else "not checked")


class TestExamination:
    """Streams that a program examines."""

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_runs_on_both_event_loops(self, backend: str) -> None:
        """Both connections answer pings."""
        with running_sandbox(accounts=1) as pm:
            found = by_name(anyio.run(partial(examined, pm), backend=backend))

        assert found["pings"].verdict == "ok"
        assert found["pings"].finding.startswith("10 of 10 ")

    async def test_the_pings_of_the_server_are_counted(self) -> None:
        """The interval of the server's pings is shown."""
        with running_sandbox(accounts=1, streams=StreamRules(ping=0.2)) as pm:
            found = by_name(await examined(pm))

        assert found["server_pings"].verdict == "ok"
        assert "sends a ping every" in found["server_pings"].finding

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_a_server_that_refuses_connections(self, backend: str) -> None:
        """A server that refuses handshakes also refuses a made-up key, and the status is shown."""
        with running_sandbox(accounts=1) as pm, stream_server() as server:
            server.refuse = lambda: Response(401, "", Headers({"Content-Length": "0"}))
            found = by_name(anyio.run(partial(examined, pm, url=server.url), backend=backend))

        assert (found["connections"].verdict, found["unknown_key"].verdict) == ("failed", "ok")
        assert "401" in found["connections"].finding
        assert "refused" in found["unknown_key"].finding
        assert found["pings"].verdict == "not checked"

    async def test_a_server_that_closes_connections(self) -> None:
        """The close code of the server is shown."""
        with running_sandbox(accounts=1) as pm, stream_server() as server:
            server.greet = _close
            found = by_name(await examined(pm, url=server.url))

        assert (found["connections"].verdict, found["unknown_key"].verdict) == ("warning", "ok")
        assert "1008" in found["connections"].finding
        assert "1008" in found["unknown_key"].finding

    @pytest.mark.parametrize("is_shared", [True, False])
    async def test_two_api_keys_of_one_account(self, *, is_shared: bool) -> None:
        """Equal balances show whether two API keys of one account share a listen key."""
        with running_sandbox(accounts=1) as pm:
            one, other = target_of(pm, "one"), target_of(pm, "two", key="ed25519")
            if not is_shared:
                own = Fault(
                    method="POST", path=LISTEN_KEY, account=pm.accounts[0].ed25519.api_key, times=None,
                    body=b'{"listenKey": "canary"}',
                )  # fmt: skip
                pm.inject(own)
            sharing = by_name(await examined(pm, one, other))["key_sharing"]

        assert sharing.verdict == "ok"
        assert ("have the same listen key" if is_shared else "each API key has its own") in sharing.finding

    async def test_a_pro_account_is_watched_on_its_own_stream(self) -> None:
        """A Pro account uses the listen key of USD-M futures, and another account its own stream."""
        with running_sandbox(accounts=2) as pm:
            targets = [target_of(pm, "span", product="span", read=("span_account",)), target_of(pm, "pm", place=1)]
            checks = await examined(pm, *targets)
            posts = {(one.account, one.path) for one in pm.exchange.requests if one.method == "POST"}

        first, second = (account.label for account in pm.accounts)
        assert posts == {(first, "/fapi/v1/listenKey"), (second, LISTEN_KEY)}
        assert [check.verdict for check in checks if check.name == "update_time"] == ["not checked", "ok"]

    async def test_a_failing_account_does_not_stop_the_others(self) -> None:
        """Each account has its own checks, and the made-up key is tried once."""
        with running_sandbox(accounts=2) as pm:
            refused = Fault(
                method="POST", path=LISTEN_KEY, account=pm.accounts[0].label, status=401, code=-2015, msg="x"
            )
            pm.inject(refused)
            checks = await examined(pm, target_of(pm, "odd"), target_of(pm, "good", place=1))

        verdicts = {(check.name, check.target): check.verdict for check in checks}
        assert (verdicts["listen_key", "odd"], verdicts["listen_key", "good"]) == ("failed", "ok")
        assert [check.name for check in checks].count("unknown_key") == 1

    async def test_a_missing_extra_is_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The advice for a missing extra is to install it, and all other checks are made."""

        def find_nothing(_: str) -> None:
            return None

        monkeypatch.setattr("binance_pm.stream.source.find_spec", find_nothing)
        with running_sandbox(accounts=1) as pm:
            found = by_name(await examined(pm))

        assert (found["listen_key"].verdict, found["pings"].verdict) == ("failed", "not checked")
        assert "[stream]" in found["listen_key"].advice
        assert found["permissions"].verdict == "ok"

    async def test_ends_within_its_time_limit(self) -> None:
        """If POST is not answered, the checks of the stream are not made."""
        with running_sandbox(accounts=1) as pm:
            pm.inject(Fault(method="POST", path=LISTEN_KEY, delay=30))
            with anyio.fail_after(10):
                found = by_name(await examined(pm, step_seconds=0.5))

        assert found["listen_key"].verdict == "failed"
        assert found["keepalive"].verdict == "not checked"

    async def test_cancelling_leaves_no_connection_open(self) -> None:
        """A cancelled examination closes its connections within two seconds."""
        with running_sandbox(accounts=1) as pm:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(examined, pm, seconds=30.0))
                await eventually(lambda: pm.exchange.streams.open_connections >= 2)
                tasks.cancel_scope.cancel()
            await eventually(lambda: not pm.exchange.streams.open_connections, seconds=2)
