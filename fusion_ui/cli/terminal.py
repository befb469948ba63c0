"""Progress on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from fusion_ui.progress import Progress


def terminal_progress() -> Progress:
    """Progress on standard error: one line that rewrites itself, or nothing where nobody watches."""
    if not sys.stderr.isatty():
        return Progress()
    return Progress(
        lambda fraction, message: print(f"\r\033[K{fraction:4.0%} {message[:100]}", end="", file=sys.stderr)
    )


def clear_line() -> None:
    """Remove the progress line before something else is printed."""
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)


def print_notes(notes: Iterable[str], kind: str = "note") -> None:
    """Sentences about what was read, on standard error, where they stay out of a command's output."""
    for note in notes:
        clear_line()
        print(f"{kind}: {note}", file=sys.stderr)


def one_line(text: str, width: int = 60) -> str:
    """Text from a file on one line, cut, and without characters that would move the terminal's cursor."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split())[:width])
