"""A journal that is cut anywhere, as a crash may leave it, is read up to its last whole line, and continued there."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from binance_pm import CallInfo, JournalError, read_journal
from binance_pm.journal_file import HEADER, open_journal
from tests.support.journals import ended, started

CALL = CallInfo("test")
WHOLE = HEADER + b"".join(
    [
        *(started("a"), started("b", parameters={"note": 'é"\n'}), ended("b"), started("a", attempt=2)),
        *(ended("a", outcome="unknown", reason="lost"), started("c"), ended("a", outcome="done", is_resolved=True)),
    ]
)


def outcomes(content: bytes) -> dict[str, str]:
    """Return what whole lines say, read in the simplest way."""
    found: dict[str, str] = {}
    for line in content[: content.rfind(b"\n") + 1].splitlines()[1:]:
        name = line.split(b'"id":"')[1][:1].decode()
        found[name] = line.split(b'"outcome":"')[1].split(b'"')[0].decode() if b'"ended"' in line else "unknown"
    return found


def test_a_journal_cut_at_any_byte_is_read_and_repaired(tmp_path: Path) -> None:
    """Whole lines count, the rest is reported and removed, and the next line stands alone."""
    for size in range(len(WHOLE) + 1):
        path = tmp_path / f"{size}.jsonl"
        cut = WHOLE[:size]
        path.write_bytes(cut)
        reader = read_journal(path)

        assert {entry.started.id: entry.outcome for entry in reader} == outcomes(cut)
        assert reader.torn == len(cut) - (cut.rfind(b"\n") + 1)

        file = open_journal(path, CALL)
        file.append(started("z"), CALL)
        file.close()
        again = read_journal(path)
        assert {entry.started.id: entry.outcome for entry in again} == outcomes(cut) | {"z": "unknown"}
        assert again.torn == 0


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(place: int, byte: int) -> None:
    """No other error leaves the reader."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :])
        try:
            found = list(read_journal(path))
        except JournalError:
            return

    assert len(found) <= 4
