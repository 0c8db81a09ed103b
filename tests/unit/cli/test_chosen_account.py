"""The account of a command that concerns one account."""

from __future__ import annotations

from pathlib import Path

import pytest

from binance_pm.cli.chosen_account import client_of
from binance_pm.errors import ConfigurationError

FILE = """
{url}
[[accounts]]
label = "desk"
product = "pm"
api_key = {{ env = "DESK_KEY" }}
api_secret = {{ env = "DESK_SECRET" }}
"""


@pytest.mark.parametrize(
    ("in_file", "environment", "url"),
    [
        ("", {}, "wss://fstream.binance.com"),
        ("", {"BASE": "http://127.0.0.1:1"}, "ws://127.0.0.1:1"),
        ("", {"BASE": "http://127.0.0.1:1", "STREAM": "ws://127.0.0.1:2"}, "ws://127.0.0.1:2"),
        ("http://127.0.0.1:3", {"BASE": "http://127.0.0.1:1"}, "ws://127.0.0.1:3"),
        ("http://127.0.0.1:3", {"STREAM": "ws://127.0.0.1:2"}, "ws://127.0.0.1:2"),
    ],
)
async def test_the_environment_names_the_server_of_an_accounts_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_file: str, environment: dict[str, str], url: str
) -> None:
    """`BINANCE_PM_STREAM_URL` outweighs the host of the requests, and the file's base URL that of the environment."""
    path = tmp_path / "accounts.toml"
    path.write_text(FILE.format(url=f'base_url = "{in_file}"' if in_file else ""))
    monkeypatch.setenv("DESK_KEY", "k" * 64)
    monkeypatch.setenv("DESK_SECRET", "s" * 64)
    for name, value in environment.items():
        monkeypatch.setenv(f"BINANCE_PM_{name}_URL", value)

    client = await client_of("desk", path)

    assert client.stream_url == url


async def test_an_unknown_label_is_refused_with_all_labels_of_the_file(tmp_path: Path) -> None:
    """Also with that of an account that has a mistake."""
    path = tmp_path / "accounts.toml"
    path.write_text(FILE.format(url="") + '[[accounts]]\nlabel = "other"\n')

    with pytest.raises(ConfigurationError, match=r"Its accounts: desk, other"):
        await client_of("nobody", path)
