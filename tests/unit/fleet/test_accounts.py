"""The accounts file: every mistake is reported with its line and account, and never with a secret."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from binance_pm import ConfigurationError
from binance_pm.fleet.accounts import AccountEntry, Reference, read_accounts, refusal

SECRET = "x" * 40 + "Secret"
KEY = "a1B2" * 16
KEYS = 'api_key = { env = "KEY" }\napi_secret = { env = "SECRET" }\n'
ACCOUNT = '[[accounts]]\nlabel = "desk"\nproduct = "pm"\n' + KEYS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Path of the file."""
    return tmp_path / "accounts.toml"


def entries(path: Path, text: str) -> list[AccountEntry]:
    """Return the accounts of a valid file."""
    path.write_text(text, encoding="utf-8")
    file = read_accounts(path)
    assert file.problems == []
    return file.entries


def problem(path: Path, text: str) -> str:
    """Return the error for a file with mistakes."""
    path.write_text(text, encoding="utf-8")
    file = read_accounts(path)
    assert file.problems
    return str(refusal(file.path, file.problems))


def test_an_account_is_read_as_written(path: Path) -> None:
    """Every kind of reference, and thresholds as written."""
    (entry,) = entries(
        path,
        """
        [[accounts]]  # the first
        label = "desk 1"
        product = "span"
        read = ["span_account", "um_account"]
        api_key = { file = "~/desk.key" }
        private_key = { command = ["pass", "show", "desk"] }
        passphrase = { keyring = { service = "binance", name = "desk" } }
        warn = "2.50"
        alarm = 1.2
        stream = true
        """,
    )

    assert entry == AccountEntry(
        label="desk 1",
        line=2,
        product="span",
        read=("span_account", "um_account"),
        api_key=Reference("file", ("~/desk.key",)),
        secret=Reference("command", ("pass", "show", "desk")),
        is_private_key=True,
        passphrase=Reference("keyring", ("binance", "desk")),
        warn=Decimal("2.50"),
        alarm=Decimal("1.2"),
        stream=True,
    )


@pytest.mark.parametrize(
    ("product", "read"),
    [("pm", ("account", "um_account")), ("pm_pro", ("pro_account",)), ("span", ("span_account",))],
)
def test_the_product_decides_what_is_read(path: Path, product: str, read: tuple[str, ...]) -> None:
    """If the file does not."""
    (entry,) = entries(path, ACCOUNT.replace('"pm"', f'"{product}"'))

    assert entry.read == read


# Each differs from a valid account in one place. The messages of other mistakes are in tests/messages.
MISTAKES = [
    ('label = "desk"', 'label = "a\\nb"', "[#1]: label is"),
    ('"desk"', f'"{KEY}"', "[#1]: label has"),
    ('product = "pm"', 'product = "pm"\nread = []', "read is not a list"),
    ('product = "pm"', 'product = "pm"\nread = ["um_account"]', "read must name exactly one"),
    ('product = "pm"', 'product = "pm"\nread = ["account", "account"]', "read names an endpoint twice"),
    ('product = "pm"', 'product = "pm"\nread = ["account", 7]', "read names something:"),
    ('{ env = "SECRET" }', f'"{SECRET}"', "api_secret is given literally"),
    ('api_secret = { env = "SECRET" }', f'private_key = "{SECRET}"', "private_key is given literally"),
    ('{ env = "SECRET" }', f'{{ file = "{KEY}" }}', "api_secret: file has the format of a key"),
    ('{ env = "SECRET" }', f'{{ command = ["{KEY}"] }}', "api_secret: command has the format of a key"),
    ('{ env = "SECRET" }', "{}", "api_secret must be a table"),
    ('{ env = "SECRET" }', '{ env = "A", file = "b" }', "api_secret must be a table"),
    ('{ env = "SECRET" }', f'{{ value = "{SECRET}" }}', "api_secret must be a table"),
    ('{ env = "SECRET" }', '{ file = "" }', "api_secret: file must be"),
    ('{ env = "SECRET" }', "{ command = [] }", "api_secret: command must be"),
    ('{ env = "SECRET" }', '{ command = ["a", 1] }', "api_secret: command must be"),
    ('{ env = "SECRET" }', '{ env = "A\\u0000" }', "api_secret: env must be"),
    ('{ env = "SECRET" }', '{ keyring = { service = "s" } }', "api_secret: keyring must be"),
    ('{ env = "SECRET" }', '{ keyring = { service = "s", name = "n", x = 1 } }', "api_secret: keyring must be"),
    ("api_secret", f'passphrase = "{SECRET}"\napi_secret', "passphrase is given literally"),
    ("api_secret", f'{SECRET} = "a"\napi_secret', "something is unknown"),
]


@pytest.mark.parametrize(("right", "wrong", "part"), MISTAKES, ids=[part[:40] for _, _, part in MISTAKES])
def test_a_mistake_is_reported(path: Path, right: str, wrong: str, part: str) -> None:
    """The error names the file, the line, the account and the mistake, and shows no secret."""
    text = problem(path, ACCOUNT.replace(right, wrong, 1))

    assert part in text
    assert text.startswith(f"Fleet.from_toml: {path}: line 1 [")
    assert SECRET not in text
    assert KEY not in text


def test_an_argument_of_a_command_may_look_like_a_key(path: Path) -> None:
    """Some programs name their entries by a digest."""
    entry = entries(path, ACCOUNT.replace('{ env = "SECRET" }', f'{{ command = ["show", "{KEY}"] }}'))[0]

    assert entry.secret.words == ("show", KEY)


def test_a_byte_order_mark_is_no_mistake(path: Path) -> None:
    """Some editors write one."""
    assert [entry.label for entry in entries(path, "\ufeff" + ACCOUNT)] == ["desk"]


def test_all_mistakes_are_reported_together(path: Path) -> None:
    """Each with the line of its account; valid accounts are there, too."""
    path.write_text(
        "# all desks\n"
        + ACCOUNT
        + ACCOUNT.replace("desk", "two").replace('"pm"', '"spot"').replace("env", "vault")
        + ACCOUNT.replace("desk", "three")
        + ACCOUNT,
        encoding="utf-8",
    )

    file = read_accounts(path)

    assert [entry.label for entry in file.entries] == ["desk", "three"]
    assert [(problem.label, problem.line) for problem in file.problems] == [("two", 7), ("desk", 17)]
    assert file.problems[0].text.count(";") == 2
    assert file.problems[1].text == "the account of line 2 has the same label"


def test_text_that_looks_like_an_account_is_ignored(path: Path) -> None:
    """Reported lines are those of real accounts."""
    text = problem(path, '[[accounts]]\nlabel = """a\n[[accounts]]\n"""\n[["accounts"]]\nlabel = "b"\n')

    assert "line 1 [#1]: label is not a printable string" in text
    assert "line 5 [b]: product is missing" in text


def test_accounts_on_one_line_are_found(path: Path) -> None:
    """TOML has another notation for a list of tables."""
    assert "line 2 [b]: product is missing" in problem(path, '\naccounts = [{ label = "a" }, { label = "b" }]\n')


@pytest.mark.parametrize(
    "text",
    [
        "accounts = []",
        'base_url = ""\n[[accounts]]',
        'base_url = "https://evil.example"\n[[accounts]]',
        f'base_url = "https://me:{SECRET}@papi.binance.com"\n[[accounts]]',
        f'[[accounts]]\napi_secret = "{SECRET}\n',
        f"[[accounts]]\n{SECRET} = 1\n{SECRET} = 2\n",
        "warn = 1e999999999999999999999",
    ],
)
def test_an_invalid_file_is_refused(path: Path, text: str) -> None:
    """The error names the file and quotes nothing of it."""
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigurationError) as refused:
        read_accounts(path)

    assert f"{path}" in str(refused.value)
    assert SECRET not in str(refused.value)


values = st.recursive(
    st.one_of(
        st.sampled_from(["true", f'"{SECRET}"', '"pm"', "2026-11-21", "1.5", "nan"]), st.integers(-9, 9).map(str)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(
            st.sampled_from(["env", "file", "command", "keyring", "service", "name", "x"]), inner, max_size=2
        ).map(lambda items: "{ " + ", ".join(f"{name} = {value}" for name, value in items.items()) + " }"),
    ),
    max_leaves=5,
)
fields = st.sampled_from(
    ["label", "product", "read", "api_key", "api_secret", "private_key", "passphrase", "warn", "alarm", "more"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(fields, values, max_size=6), min_size=1, max_size=3))
def test_any_shape_is_read_or_refused_without_showing_secrets(path: Path, tables: list[dict[str, str]]) -> None:
    """Text in place of a table is never quoted."""
    lines: list[int] = []
    text = ""
    for table in tables:
        lines.append(text.count("\n") + 1)
        text += "[[accounts]]\n" + "".join(f"{name} = {value}\n" for name, value in table.items())
    path.write_text(text, encoding="utf-8")

    file = read_accounts(path)

    mistakes = "; ".join(problem.text for problem in file.problems)
    assert len(file.entries) + len(file.problems) == len(tables)
    assert {one.line for one in (*file.entries, *file.problems)} == set(lines)
    assert SECRET not in mistakes
