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
from binance_pm.fleet import AccountFailed, Fleet
from binance_pm.fleet.accounts import read_accounts, refusal
from binance_pm.fleet.keys import open_entries
from binance_pm.testing import Sandbox

SECRET = "s" * 40 + "Secret"
ENV = {"KEY": "k" * 64, "SECRET": SECRET}
KEYRING = '{ keyring = { service = "binance", name = "desk" } }'


def accounts_file(folder: Path, secret: str, *, name: str = "api_secret") -> Path:
    """Write a file with one account whose secret comes from a source."""
    path = folder / "accounts.toml"
    path.write_text(
        f'\n[[accounts]]\nlabel = "desk"\nproduct = "pm"\napi_key = {{ env = "KEY" }}\n{name} = {secret}\n',
        encoding="utf-8",
    )
    return path


async def problem_with(
    folder: Path, secret: str, *, name: str = "api_secret", env: Mapping[str, str] = ENV, longest: float = 30.0
) -> str:
    """Return the error for an account with such a secret; nothing if the account could be opened."""
    path = accounts_file(folder, secret, name=name)
    clients, problems = await open_entries(
        read_accounts(path), session=None, options={}, environment=env, longest=longest
    )
    assert (len(clients), len(problems)) in {(1, 0), (0, 1)}
    return str(refusal(path, problems)) if problems else ""


def private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path


def command(*words: object) -> str:
    """Return the source of a key that a Python program prints."""
    return "{ command = [" + ", ".join(f'"{word}"' for word in (sys.executable, *words)) + "] }"


class Keyring(ModuleType):
    """A keyring that knows one secret and has one locked service."""

    def get_password(self, service_name: str, username: str) -> str | None:
        """Return the secret of a name."""
        if service_name == "locked":
            raise RuntimeError(SECRET)
        return {("binance", "desk"): SECRET}.get((service_name, username))


async def test_every_source_gives_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are relative to the accounts file, and white space around a key is stripped."""
    monkeypatch.setitem(sys.modules, "keyring", Keyring("keyring"))
    private(tmp_path / "desk.secret", f"{SECRET}\n")
    private(tmp_path / "print.py", f"print('{SECRET}')")

    for source in ('{ env = "SECRET" }', '{ file = "desk.secret" }', command("print.py"), KEYRING):
        assert await problem_with(tmp_path, source) == ""


async def test_a_failure_of_a_source_shows_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The output of a command, the error of a keyring and a damaged key are not quoted."""
    monkeypatch.setitem(sys.modules, "keyring", Keyring("keyring"))
    private(tmp_path / "loud.py", f"import sys; sys.stderr.write('{SECRET}'); print('{SECRET}'); sys.exit(3)")
    locked = '{ keyring = { service = "locked", name = "desk" } }'

    for source, reason in ((command("loud.py"), "status 3"), (locked, "RuntimeError")):
        text = await problem_with(tmp_path, source)
        assert text.startswith(f"Fleet.from_toml: {tmp_path / 'accounts.toml'}: line 2 [desk]: api_secret: ")
        assert reason in text
        assert SECRET not in text + "".join(capfd.readouterr())
    body = "MC4CAQAwBQYDK2VwBCIEIFRn" + "A" * 40
    text = await problem_with(tmp_path, '{ env = "SECRET" }', name="private_key", env=ENV | {"SECRET": body})
    assert "BEGIN and END" in text
    assert body not in text


async def test_a_key_that_the_client_refuses_is_reported(tmp_path: Path) -> None:
    """A secret with white space and a private key that cannot be read are problems of their account."""
    for name, secret in (("api_secret", "a b"), ("private_key", "-----BEGIN PRIVATE KEY-----")):
        assert await problem_with(tmp_path, '{ env = "SECRET" }', name=name, env=ENV | {"SECRET": secret})


async def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """The pipe may never have a writer."""
    os.mkfifo(tmp_path / "pipe", mode=0o600)

    assert "no regular file" in await problem_with(tmp_path, '{ file = "pipe" }')


async def test_leaving_while_keys_are_read_ends_at_once(tmp_path: Path) -> None:
    """A hanging program is killed, not waited for."""
    running = tmp_path / "running"
    os.mkfifo(running)
    pids: list[int] = []
    code = f"import os, time; print(os.getpid(), file=open('{running}', 'w'), flush=True); time.sleep(600)"
    fleet = Fleet.from_toml(accounts_file(tmp_path, command("-c", code)), environment=ENV)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fleet.__aenter__)
            pids.append(int(await anyio.to_thread.run_sync(running.read_text)))
            tasks.cancel_scope.cancel()

    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


ENDLESS = "import os\nwhile True: os.write(1, b'x' * 4096)"
# The shell goes on while its background process keeps the output open.
BEHIND = "import os, time\nif not os.fork(): time.sleep(600)"


@pytest.mark.parametrize(("code", "longest", "reason"), [(ENDLESS, 30.0, "65536 bytes"), (BEHIND, 5.0, "within 5 s")])
async def test_a_command_is_killed_with_its_children(tmp_path: Path, code: str, longest: float, reason: str) -> None:
    """A command may print more than any key has, or not end in time."""
    private(tmp_path / "hostile.py", code)

    with anyio.fail_after(60):
        assert reason in await problem_with(tmp_path, command("hostile.py"), longest=longest)

    assert children_named("hostile.py") == []


def children_named(name: str) -> list[str]:
    """Return the running processes of that name, without zombies."""
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


@pytest.mark.parametrize("source", ['{ command = ["sleep", "600"] }', KEYRING])
def test_the_program_ends_while_a_key_is_read(tmp_path: Path, source: str) -> None:
    """The command prints nothing, and the keyring waits for a user's input."""
    (tmp_path / "keyring.py").write_text("import time\nget_password = lambda *_: time.sleep(600)\n", encoding="utf-8")
    code = "import sys, anyio\nfrom binance_pm.fleet import Fleet\n"
    code += "async def main():\n    with anyio.move_on_after(0.2):\n"
    code += "        await Fleet.from_toml(sys.argv[1]).__aenter__()\nanyio.run(main)"
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    ended = subprocess.run(
        [sys.executable, "-c", code, str(accounts_file(tmp_path, source))],
        env=os.environ | ENV | {"PYTHONPATH": paths}, timeout=20, check=False,
    )  # fmt: skip

    assert ended.returncode == 0


def three_accounts(pm: Sandbox, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return a file with two accounts of the local exchange and one without keys, and its environment."""
    first, second = pm.accounts
    env = {"BINANCE_PM_BASE_URL": pm.base_url, "KEY_1": first.api_key, "SECRET_1": first.api_secret}
    env |= {"KEY_2": second.ed25519.api_key}
    private(tmp_path / "second.pem", second.ed25519.secret)
    tables = [
        (first.label, "span", 'api_key = { env = "KEY_1" }\napi_secret = { env = "SECRET_1" }'),
        (second.label, "pm", 'api_key = { env = "KEY_2" }\nprivate_key = { file = "second.pem" }'),
        ("third", "pm", 'api_key = { env = "KEY_3" }\napi_secret = { env = "SECRET_3" }'),
    ]
    text = "".join(f'[[accounts]]\nlabel = "{name}"\nproduct = "{product}"\n{keys}\n' for name, product, keys in tables)
    path = tmp_path / "accounts.toml"
    path.write_text(text, encoding="utf-8")
    return path, env


async def test_one_wrong_account_stops_the_fleet(pm: Sandbox, tmp_path: Path) -> None:
    """The error names the line and the account."""
    path, env = three_accounts(pm, tmp_path)

    with pytest.raises(ConfigurationError, match=r"line 11 \[third\]: api_key"):
        await Fleet.from_toml(path, environment=env, session=pm.session()).__aenter__()


async def test_the_other_accounts_continue_if_asked(pm: Sandbox, tmp_path: Path) -> None:
    """The wrong account is reported by an event and in the snapshot."""
    path, env = three_accounts(pm, tmp_path)
    read: set[str] = set()
    failed: list[AccountFailed] = []

    async with Fleet.from_toml(path, environment=env, session=pm.session(), keep_going=True) as fleet:
        with anyio.fail_after(20):
            async for event in fleet.watch():
                if isinstance(event, AccountFailed):
                    failed.append(event)
                else:
                    read.add(getattr(event, "label", ""))
                if {"account-01", "account-02"} <= read:
                    break
        third = fleet.snapshot()[-1]

    assert [(event.label, event.error_type, event.retry_at) for event in failed] == [
        ("third", "ConfigurationError", None)
    ]
    assert (third.label, third.is_stale, third.uni_mmr) == ("third", True, None)
    assert "line 11: api_key" in third.error == failed[0].error


async def test_a_shard_reads_only_its_own_keys(pm: Sandbox, tmp_path: Path) -> None:
    """The keys of other accounts may be missing."""
    path, env = three_accounts(pm, tmp_path)
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
