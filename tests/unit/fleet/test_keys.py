"""Keys are read from their sources; every failure is reported without showing any part of a key."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import anyio
import anyio.to_thread
import pytest

from binance_pm import ConfigurationError
from binance_pm.extras import installation
from binance_pm.fleet import AccountFailed, Fleet
from binance_pm.fleet.accounts import read_accounts, refusal
from binance_pm.fleet.keys import open_entries
from binance_pm.testing import Sandbox

SECRET = "s" * 40 + "Secret"
ENV = {"KEY": "k" * 64, "SECRET": SECRET}


async def problem_with(tmp_path: Path, secret: str, *, name: str = "api_secret", env: Mapping[str, str] = ENV) -> str:
    """Return the error for an account with such a secret; nothing if the account could be opened."""
    path = tmp_path / "accounts.toml"
    path.write_text(
        f'\n[[accounts]]\nlabel = "desk"\nproduct = "pm"\napi_key = {{ env = "KEY" }}\n{name} = {secret}\n',
        encoding="utf-8",
    )
    file = read_accounts(path)
    assert file.problems == []
    clients, problems = await open_entries(file, session=None, options={}, environment=env, longest=30.0)
    assert (len(clients), len(problems)) in {(1, 0), (0, 1)}
    return str(refusal(path, problems)) if problems else ""


def private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path


class Keyring(ModuleType):
    """Replaces the library."""

    def get_password(self, service_name: str, username: str) -> str | None:
        """One secret is known; one service is locked."""
        if service_name == "locked":
            raise RuntimeError(SECRET)
        return {("binance", "desk"): SECRET}.get((service_name, username))


async def test_every_source_gives_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative to the accounts file; white space around a key is stripped."""
    monkeypatch.setitem(sys.modules, "keyring", Keyring("keyring"))
    private(tmp_path / "desk.secret", f"{SECRET}\n")
    program = private(tmp_path / "print.py", f"print('{SECRET}')").name

    assert await problem_with(tmp_path, '{ env = "SECRET" }') == ""
    assert await problem_with(tmp_path, '{ file = "desk.secret" }') == ""
    assert await problem_with(tmp_path, f'{{ command = ["{sys.executable}", "{program}"] }}') == ""
    assert await problem_with(tmp_path, '{ keyring = { service = "binance", name = "desk" } }') == ""


async def test_a_source_without_a_key_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the file, the line, the account and the reason."""
    monkeypatch.setitem(sys.modules, "keyring", Keyring("keyring"))
    private(tmp_path / "empty", "\n")
    quiet, failing = (
        f'["{sys.executable}", "-c", "{code}"]' for code in ("", "import sys; sys.exit('" + SECRET + "')")
    )
    reasons = {
        '{ env = "NONE" }': "the variable NONE is not set",
        '{ file = "none" }': f"the file {tmp_path / 'none'} cannot be read: No such file or directory",
        '{ file = "empty" }': "the file empty is empty",
        '{ command = ["/no/such/program"] }': "the command /no/such/program cannot be run: No such file or directory",
        f"{{ command = {quiet} }}": f"the command {sys.executable} printed nothing",
        f"{{ command = {failing} }}": f"the command {sys.executable} ended with status 1",
        '{ keyring = { service = "binance", name = "other" } }': "the keyring has no other of the service binance",
        '{ keyring = { service = "locked", name = "desk" } }': "the keyring failed with RuntimeError",
    }

    for secret, reason in reasons.items():
        text = await problem_with(tmp_path, secret)
        assert f"accounts.toml: line 2 [desk]: api_secret: {reason}" in text
        assert SECRET not in text


async def test_a_secret_readable_by_others_is_refused(tmp_path: Path) -> None:
    """As a private key is."""
    private(tmp_path / "desk.secret", SECRET).chmod(0o644)

    assert "can be read by all users: run chmod 600" in await problem_with(tmp_path, '{ file = "desk.secret" }')


async def test_a_keyring_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "keyring", None)

    text = await problem_with(tmp_path, '{ keyring = { service = "binance", name = "desk" } }')

    assert f"a keyring needs the extra `keyring`: {installation('keyring')}" in text


async def test_an_unusable_key_is_reported(tmp_path: Path) -> None:
    """In the words of the client."""
    assert "the API secret has white space" in await problem_with(
        tmp_path, '{ env = "SECRET" }', env=ENV | {"SECRET": "a b"}
    )
    assert "private_key is not PEM" in await problem_with(tmp_path, '{ env = "SECRET" }', name="private_key")
    broken = ENV | {"SECRET": "-----BEGIN PRIVATE KEY-----"}
    assert "cannot be read" in await problem_with(tmp_path, '{ env = "SECRET" }', name="private_key", env=broken)


async def test_a_hanging_command_is_ended(tmp_path: Path) -> None:
    """After a bounded time."""
    path = tmp_path / "accounts.toml"
    sleeping = f'{{ command = ["{sys.executable}", "-c", "import time; time.sleep(600)"] }}'
    path.write_text(
        f'[[accounts]]\nlabel = "desk"\nproduct = "pm"\napi_key = {{ env = "KEY" }}\napi_secret = {sleeping}\n',
        encoding="utf-8",
    )

    _, problems = await open_entries(read_accounts(path), session=None, options={}, environment=ENV, longest=0.2)

    assert [problem.text for problem in problems] == ["api_secret: the command did not answer within 0.2 s"]


async def test_leaving_while_keys_are_read_ends_at_once(tmp_path: Path) -> None:
    """A hanging program is ended, not waited for."""
    path = tmp_path / "accounts.toml"
    running = tmp_path / "running"
    os.mkfifo(running)
    pids: list[int] = []
    code = f"import os, time; print(os.getpid(), file=open('{running}', 'w'), flush=True); time.sleep(600)"
    path.write_text(
        f'[[accounts]]\nlabel = "desk"\nproduct = "pm"\napi_key = {{ env = "KEY" }}\n'
        f'api_secret = {{ command = ["{sys.executable}", "-c", "{code}"] }}\n',
        encoding="utf-8",
    )
    fleet = Fleet.from_toml(path, environment=ENV)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.__aenter__)
            pids.append(int(await anyio.to_thread.run_sync(running.read_text)))
            tasks.cancel_scope.cancel()

    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


async def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """The pipe may never have a writer."""
    os.mkfifo(tmp_path / "pipe", mode=0o600)

    assert "cannot be read: it is not a regular file" in await problem_with(tmp_path, '{ file = "pipe" }')


ENDLESS = "import os\nwhile True: os.write(1, b'x' * 4096)"
# The shell goes on while its background process prints.
BEHIND = "import os, time\nif os.fork(): os._exit(0)\nprint(os.getpid(), file=open({running!r}, 'w'), flush=True)\n"


async def test_a_command_that_prints_without_end_is_killed(tmp_path: Path) -> None:
    """No more output is kept than a key can have."""
    program = private(tmp_path / "endless.py", ENDLESS).name

    with anyio.fail_after(30):
        text = await problem_with(tmp_path, f'{{ command = ["{sys.executable}", "{program}"] }}')

    assert f"the command {sys.executable} printed more than 65536 bytes, which no key has" in text
    assert children_named("endless.py") == []


async def test_the_children_of_a_command_are_killed_with_it(tmp_path: Path) -> None:
    """They would keep the output open after the command itself has ended."""
    running = tmp_path / "running"
    code = BEHIND.format(running=str(running)) + "time.sleep(600)"
    program = private(tmp_path / "behind.py", code).name
    path = tmp_path / "accounts.toml"
    path.write_text(
        f'[[accounts]]\nlabel = "desk"\nproduct = "pm"\napi_key = {{ env = "KEY" }}\n'
        f'api_secret = {{ command = ["{sys.executable}", "{program}"] }}\n',
        encoding="utf-8",
    )

    _, problems = await open_entries(read_accounts(path), session=None, options={}, environment=ENV, longest=5.0)

    assert [problem.text for problem in problems] == ["api_secret: the command did not answer within 5 s"]
    assert running.read_text()
    assert children_named("behind.py") == []


async def test_other_output_of_a_command_is_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The output may contain the secret, whether the command succeeds or not."""
    for ending in ("", "; sys.exit(3)"):
        code = f"import sys; sys.stderr.write('{SECRET}'); print('{SECRET}'){ending}"
        program = private(tmp_path / "loud.py", code).name
        text = await problem_with(tmp_path, f'{{ command = ["{sys.executable}", "{program}"] }}')
        assert ("ended with status 3" in text) is bool(ending)
        assert SECRET not in text
    assert SECRET not in "".join(capfd.readouterr())


def children_named(name: str) -> list[str]:
    """Return the running processes of that name, including zombies."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if name.encode() in words and state != "Z":
            found.append(f"{process.name} {state}")
    return found


async def test_a_damaged_private_key_is_named(tmp_path: Path) -> None:
    """As for a single client."""
    body = "MC4CAQAwBQYDK2VwBCIEIFRn" + "A" * 40
    text = await problem_with(tmp_path, '{ env = "SECRET" }', name="private_key", env=ENV | {"SECRET": body})

    assert "private_key is without its lines BEGIN and END: give the whole PEM" in text
    assert body not in text


@pytest.mark.parametrize(
    "place", ['{ command = ["sleep", "600"] }', '{ keyring = { service = "binance", name = "desk" } }']
)
def test_the_program_ends_while_a_key_is_read(tmp_path: Path, place: str) -> None:
    """The command prints nothing, and the keyring waits for a user's input."""
    (tmp_path / "keyring.py").write_text("import time\nget_password = lambda *_: time.sleep(600)\n", encoding="utf-8")
    (tmp_path / "accounts.toml").write_text(
        f'[[accounts]]\nlabel = "desk"\nproduct = "pm"\napi_key = {{ env = "KEY" }}\napi_secret = {place}\n',
        encoding="utf-8",
    )
    code = "import sys, anyio\nfrom binance_pm.fleet import Fleet\n"
    code += "async def main():\n    with anyio.move_on_after(0.2):\n"
    code += "        await Fleet.from_toml(sys.argv[1]).__aenter__()\nanyio.run(main)"
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "accounts.toml")],
        env=os.environ | ENV | {"PYTHONPATH": paths}, timeout=20, check=False,
    )  # fmt: skip

    assert ended.returncode == 0


def accounts_of(pm: Sandbox, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return a file with accounts of the local exchange, signed in each of the ways, and its environment."""
    first, second = pm.accounts
    env = {"BINANCE_PM_BASE_URL": pm.base_url, "KEY_1": first.api_key, "SECRET_1": first.api_secret}
    env |= {"KEY_2": second.ed25519.api_key}
    private(tmp_path / "second.pem", second.ed25519.secret)
    path = tmp_path / "accounts.toml"
    path.write_text(
        f"""
        [[accounts]]
        label = "{first.label}"
        product = "span"
        api_key = {{ env = "KEY_1" }}
        api_secret = {{ env = "SECRET_1" }}

        [[accounts]]
        label = "{second.label}"
        product = "pm"
        api_key = {{ env = "KEY_2" }}
        private_key = {{ file = "second.pem" }}

        [[accounts]]
        label = "third"
        product = "pm"
        api_key = {{ env = "KEY_3" }}
        api_secret = {{ env = "SECRET_3" }}
        """,
        encoding="utf-8",
    )
    return path, env


async def test_one_wrong_account_stops_the_fleet(pm: Sandbox, tmp_path: Path) -> None:
    """Unless the fleet is asked to continue; nothing stays open."""
    path, env = accounts_of(pm, tmp_path)
    fleet = Fleet.from_toml(path, environment=env, session=pm.session())

    with pytest.raises(ConfigurationError, match=r"line 14 \[third\]: api_key: the variable KEY_3 is not set"):
        await fleet.__aenter__()


async def test_the_other_accounts_continue_if_asked(pm: Sandbox, tmp_path: Path) -> None:
    """The wrong account is reported by an event and in the snapshot."""
    path, env = accounts_of(pm, tmp_path)
    seen: set[str] = set()
    failed: list[AccountFailed] = []

    async with Fleet.from_toml(path, environment=env, session=pm.session(), keep_going=True) as fleet:
        with anyio.fail_after(20):
            async for event in fleet.watch():
                if isinstance(event, AccountFailed):
                    failed.append(event)
                else:
                    seen.add(getattr(event, "label", ""))
                if {"account-01", "account-02"} <= seen:
                    break
        third = fleet.snapshot()[-1]

    assert [(event.label, event.retry_at) for event in failed] == [("third", None)]
    assert (third.label, third.is_stale, third.uni_mmr) == ("third", True, None)
    assert "line 14: api_key: the variable KEY_3 is not set" in third.error == failed[0].error


async def test_a_shard_reads_only_its_own_keys(pm: Sandbox, tmp_path: Path) -> None:
    """The keys of other accounts may be missing."""
    path, env = accounts_of(pm, tmp_path)
    labels: list[str] = []

    for number in (1, 2, 3):
        fleet = Fleet.from_toml(path, environment=env, session=pm.session(), keep_going=True, shard=(number, 3))
        try:
            async with fleet:
                fleet.watch()
                labels += [snapshot.label for snapshot in fleet.snapshot()]
        except ConfigurationError as error:
            # The shard may have only the wrong account, or no account.
            labels += ["third"] if "third" in str(error) else []

    assert sorted(labels) == ["account-01", "account-02", "third"]


def test_a_shard_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """Before any key is read."""
    path = tmp_path / "accounts.toml"
    path.write_text('[[accounts]]\nlabel = "a"\n', encoding="utf-8")

    with pytest.raises(ConfigurationError, match="there is no shard 4 of 3"):
        Fleet.from_toml(path, shard=(4, 3))
