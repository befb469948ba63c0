"""Files as a fuzzer damages them."""

from __future__ import annotations

import random
import re
import struct

EXTREMES = (0, 1, 2**31 - 1, 2**32, 2**63 - 1, 2**64 - 1)
NUMBERS = (b"0", b"-1", b"99999999999999999999", b"1e999", b"NaN", b"1.5", b"null", b"[]", b"{}", b'"x"')


def mutate(content: bytes, generator: random.Random) -> bytes:
    """The content with one to four damages of various kinds."""
    for _ in range(generator.randint(1, 4)):
        content = generator.choice(KINDS)(content, generator)
    return content


def _flip(content: bytes, generator: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(generator.choice((1, 3, 30)) if damaged else 0):
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
    return bytes(damaged)


def _cut(content: bytes, generator: random.Random) -> bytes:
    return content[: generator.randint(0, len(content))]


def _drop(content: bytes, generator: random.Random) -> bytes:
    start, end = _slice(content, generator)
    return content[:start] + content[end:]


def _double(content: bytes, generator: random.Random) -> bytes:
    start, end = _slice(content, generator)
    return content[:end] + content[start:end] * generator.choice((1, 2, 20)) + content[end:]


def _insert(content: bytes, generator: random.Random) -> bytes:
    start, _ = _slice(content, generator)
    return content[:start] + generator.randbytes(generator.choice((1, 8, 200))) + content[start:]


def _write_extreme(content: bytes, generator: random.Random) -> bytes:
    """A length in a header becomes impossible."""
    start = generator.choice((0, 0, _slice(content, generator)[0]))
    return content[:start] + struct.pack("<Q", generator.choice(EXTREMES)) + content[start + 8 :]


def _change_number(content: bytes, generator: random.Random) -> bytes:
    found = [*re.finditer(rb"\d+", content[:100_000])]
    if not found:
        return content
    number = generator.choice(found)
    return content[: number.start()] + generator.choice(NUMBERS) + content[number.end() :]


def _change_word(content: bytes, generator: random.Random) -> bytes:
    found = [*re.finditer(rb'"[^"]{1,40}"', content[:100_000])]
    if not found:
        return content
    word = generator.choice(found)
    other = generator.choice([found[0].group(), *NUMBERS, b'"../../x"', b'"' + b"a" * 5000 + b'"', b'"\\ud800"'])
    return content[: word.start()] + other + content[word.end() :]


def _nest(content: bytes, generator: random.Random) -> bytes:
    return b"[" * generator.choice((10, 5000, 100_000)) + content


def _slice(content: bytes, generator: random.Random) -> tuple[int, int]:
    start = generator.randint(0, len(content))
    return start, min(len(content), start + generator.choice((1, 4, 50, 500)))


KINDS = (
    _flip,
    _flip,
    _cut,
    _drop,
    _double,
    _insert,
    _write_extreme,
    _change_number,
    _change_number,
    _change_word,
    _nest,
)
