"""The text of a page that arrived instead of a response, and texts of the exchange in a form that may be shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_letters, digits
from typing import Final

# Error pages are small; of anything longer only the beginning is examined.
_MOST_BYTES: Final = 2**15
_MOST_CHARACTERS: Final = 2000
# An error page has a few dozen tags.
_MOST_TAGS: Final = 4000
_MOST_SHOWN: Final = 300
_HIDDEN: Final = frozenset({"noscript", "script", "style", "svg", "template"})
_ENTITIES: Final = (("&nbsp;", " "), ("&quot;", '"'), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))
_OF_SECRETS: Final = ascii_letters + digits + "+/=%_-"
_SECRET_LIKE: Final = f"[{re.escape(_OF_SECRETS)}]{{40,}}"


def text_of(body: bytes) -> str:
    """Return the words of a body that is not the exchange's JSON, such as a web page or plain text."""
    start = body[:_MOST_BYTES].decode(errors="replace").strip("\ufeff \r\n\t")
    if len(body) > _MOST_BYTES:
        # The beginning of a key may be too short to be recognised as a key.
        start = start.rstrip(_OF_SECRETS)
    words = _words_of_page(start) if "<" in start else start
    if words[:1] in {"{", "["} or (body and not words):
        return f"{len(body)} bytes that are not the exchange's JSON"
    return words


def presentable(text: str) -> str:
    """Return one line of at most 300 characters, without keys and signatures that the text may echo."""
    if len(text) > _MOST_CHARACTERS:
        text = text[:_MOST_CHARACTERS].rstrip(_OF_SECRETS) + "…"
    printable = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(_SECRET_LIKE, "…", printable)[:_MOST_SHOWN].rstrip(". ") or "no text"


def _words_of_page(page: str) -> str:
    """Return the visible text of a page in one line, without repetitions: most pages contain their title twice."""
    words = ""
    for piece in _pieces(page):
        shown = " ".join(piece.split())
        if shown.rstrip(".") not in words:
            words = f"{words} {shown}" if words else shown
        if len(words) > _MOST_CHARACTERS:
            break
    for entity, character in _ENTITIES:
        words = words.replace(entity, character)
    return words


def _pieces(page: str) -> Iterator[str]:
    """Yield the visible texts between the tags, in a single pass, however malformed the page is."""
    hidden = ""
    first, *parts = page.split("<", _MOST_TAGS)
    yield first
    for part in parts:
        tag, _, text = part.partition(">")
        name = tag[:20].split(maxsplit=1)[0].lower() if tag.strip() else ""
        if hidden == "!--" or part.startswith("!--"):
            _, closed, text = part.partition("-->")
            hidden = "" if closed else "!--"
        elif hidden:
            hidden = "" if name == f"/{hidden}" else hidden
        elif name in _HIDDEN:
            hidden = name
        if not hidden:
            yield text
