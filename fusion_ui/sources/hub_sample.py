"""A few rows from all over a split of a hub dataset, so that one sorted by its labels shows more than the first."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate, chain, islice, pairwise
from math import ceil
from typing import TypeVar

from fusion_ui.sources.hub_block import Block, Row
from fusion_ui.sources.hub_dataset import DatasetFiles
from fusion_ui.sources.hub_rows import open_blocks, read_rows

Item = TypeVar("Item")

NUM_STRETCHES = 8
"""Places of a split at which rows are read, as far as its files and their row groups allow."""
MAX_BYTES = 4 << 20
"""Of a split, read for the sake of rows that lie further apart, where a file gives them only one after the other."""
MAX_ROWS = 20_000
"""Of one block, read for their sake: rows that all say the same take no bytes."""


def sample_rows(files: DatasetFiles, paths: Sequence[str], columns: Sequence[str], num_rows: int) -> list[Row]:
    """`num_rows` rows spread over the files of a split, the same ones every time; all where there are fewer.

    Several evenly spaced files, of a Parquet file several row groups, and of those and of text files the first
    megabytes, as they can only be read from the start.

    Raises:
        DomainError, SourceUnavailableError: as `read_rows`.
    """
    chosen = pick_evenly(paths, NUM_STRETCHES)
    sizes = [max(1, files.sizes[path]) for path in chosen]
    rows: list[Row] = []
    has_more = False
    for number, path in enumerate(chosen):
        num_wanted = ceil((num_rows - len(rows)) * sizes[number] / sum(sizes[number:]))
        found = _sample_file(files, path, columns, num_wanted, sizes[number] / sum(sizes)) if num_wanted else []
        rows, has_more = rows + found, has_more or len(found) == num_wanted
    others = (path for path in paths if path not in chosen)
    rows += islice(chain.from_iterable(read_rows(files, path, columns) for path in others), num_rows - len(rows))
    if len(rows) == num_rows or not has_more:
        return rows
    # Files of very different rows: some had too few, and others were asked for too few.
    return list(islice(chain.from_iterable(read_rows(files, path, columns) for path in paths), num_rows))


def pick_evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items in their order, at even distances from the first to the last."""
    if len(items) <= most:
        return list(items)
    if most < 2:
        return list(items[:most])
    return [items[i * (len(items) - 1) // (most - 1)] for i in range(most)]


def _sample_file(files: DatasetFiles, path: str, columns: Sequence[str], num_rows: int, share: float) -> list[Row]:
    """As `sample_rows`, of one file, which holds that share of all the bytes."""
    with open_blocks(files, path, columns) as blocks:
        blocks = [block for block in blocks if block.num_rows != 0]
        num_blocks = max(1, round(NUM_STRETCHES * share))
        chosen = pick_evenly(blocks, num_blocks)
        while sum(_weight(block, num_rows) for block in chosen) < num_rows and len(chosen) < len(blocks):
            num_blocks *= 2
            chosen = pick_evenly(blocks, num_blocks)
        ends = list(accumulate((_weight(block, num_rows) for block in chosen), initial=0))
        quotas = [num_rows * end // ends[-1] - num_rows * start // ends[-1] for start, end in pairwise(ends)]
        max_bytes = MAX_BYTES * share / max(1, len(chosen))
        parts = [_sample_block(block, quota, max_bytes) for block, quota in zip(chosen, quotas, strict=True)]
    return list(chain.from_iterable(parts))


def _weight(block: Block, num_rows: int) -> int:
    """How many rows a block has; as many as are asked for where nobody knows."""
    return num_rows if block.num_rows is None else block.num_rows


def _sample_block(block: Block, num_rows: int, max_bytes: float) -> list[Row]:
    read: list[Row] = []
    for row in block.rows if num_rows else ():
        read.append(row)
        if len(read) >= num_rows and (block.count_bytes() >= max_bytes or len(read) >= MAX_ROWS):
            break
    return _scatter(read, num_rows)


def _scatter(rows: list[Row], num_rows: int) -> list[Row]:
    """One row of each of `num_rows` equal parts, drawn at random: at even distances labels that alternate are one."""
    if len(rows) <= num_rows:
        return rows
    generator = random.Random(0)
    ends = (i * len(rows) // num_rows for i in range(num_rows + 1))
    return [rows[generator.randrange(start, end)] for start, end in pairwise(ends)]
