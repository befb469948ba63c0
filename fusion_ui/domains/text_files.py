"""Text files in the encodings that data comes in, opened so that a wrong one is named."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from fusion_ui.errors import DomainError

# The marks of UTF-32 begin with those of UTF-16, so they come first.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}

# What is often saved or downloaded under the name of a data file. Compared in lower case.
OTHER_KINDS = {
    b"pk\x03\x04": "a ZIP or Excel file. Unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel file. Save the sheet as CSV",
    b"\x1f\x8b": "compressed with gzip. Unpack it",
    b"par1": "a Parquet file. Rename it so that it ends in .parquet",
    b"%pdf": "a PDF file. Export the table as CSV",
    b"<!doctype html": "a web page. Download the file itself",
    b"<html": "a web page. Download the file itself",
    b"version https://git-lfs": "a Git LFS pointer. Fetch the file itself with `git lfs pull`",
}


def describe_format(path: Path) -> str:
    """How messages call the format of a file: its ending in capitals, such as CSV."""
    return path.suffix[1:].upper()


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A text file of UTF-8, or of UTF-16 or UTF-32 with a byte order mark; line ends are left as they are.

    Raises:
        DomainError: the bytes are of another encoding, also when that shows only while reading.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    for magic, kind in OTHER_KINDS.items():
        if start.lower().startswith(magic):
            raise DomainError(f"{path} cannot be read as {describe_format(path)}: it is {kind}.")
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if start.startswith(mark)), "utf-8")
    if encoding in ("utf-8", "utf-8-sig") and start.count(0) > len(start) // 4:
        raise DomainError(
            f"{path} cannot be read as {describe_format(path)}: many of its bytes are zero, as in UTF-16 without a "
            f"byte order mark or in a binary file. Save it as UTF-8."
        )
    try:
        with path.open(encoding=encoding, newline="") as file:
            yield file
    except UnicodeDecodeError:
        raise DomainError(_describe_undecodable(path, encoding)) from None


def _describe_undecodable(path: Path, encoding: str) -> str:
    """Which byte in which line; the file is read again, since a stream knows positions in its last block only."""
    content = path.read_bytes()
    name, where = encoding.removesuffix("-sig").upper(), ""
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        where = f"byte 0x{content[error.start]:02x} in line {line}, " if name == "UTF-8" else ""
        where = f" ({where}{error.reason})"
    return (
        f"{path} cannot be read as {describe_format(path)}: it is not valid {name}{where}. "
        f"Save it as UTF-8; in Excel, as 'CSV UTF-8'."
    )
