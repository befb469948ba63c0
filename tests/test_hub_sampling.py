"""A few rows of a large data set: from all over it, so that one sorted by label shows more, and with few bytes."""

from __future__ import annotations

import gzip
import io
import random
from collections import Counter
from itertools import pairwise

import pandas as pd
import pytest
from dataset_files import NAMES, parquet
from hypothesis import given
from hypothesis import strategies as st

from fusion_ui.domains.hub import load_hub_domain
from fusion_ui.sources.hub_dataset import DatasetFiles
from fusion_ui.sources.hub_sample import MAX_ROWS, pick_evenly, sample_rows

ALTERNATING, SORTED = [0, 1] * 10_000, [0] * 10_000 + [1] * 10_000


def long_texts(num_texts: int, seed: int = 0) -> list[str]:
    """Texts of a kilobyte that cannot be compressed."""
    generator = random.Random(seed)
    return [generator.randbytes(512).hex() for _ in range(num_texts)]


def text_file(ending: str, texts: list[str], labels: list[int]) -> bytes:
    frame = pd.DataFrame({"text": texts, "label": labels})
    is_csv = ending.startswith("csv")
    content = (frame.to_csv(index=False) if is_csv else frame.to_json(orient="records", lines=True)).encode()
    return gzip.compress(content, 1) if ending.endswith(".gz") else content


@pytest.mark.parametrize("labels", [ALTERNATING, SORTED], ids=["alternating", "sorted"])
def test_256_rows_of_a_large_parquet_file_are_from_all_over_it_and_fetch_little(hub, labels):
    texts = long_texts(20_000)
    columns = {"text": texts, "label": labels, "other": texts[::-1]}
    content = parquet(columns, {"label": NAMES}, row_group_size=500, use_dictionary=False)
    hub.add_dataset("owner/large", {"data/train-00000-of-00001.parquet": content})
    domain = load_hub_domain("owner/large", "large", num_examples=256)
    assert len(content) > 20_000_000
    assert hub.num_bytes < 6_000_000 and len(hub.requests) < 40, (hub.num_bytes, len(hub.requests))
    position = {text: i for i, text in enumerate(texts)}
    rows = [position[text] for text in domain.texts]
    assert rows == sorted(set(rows)) and len(rows) == 256
    assert rows[0] < 500 and rows[-1] >= 19_500 and max(b - a for a, b in pairwise(rows)) < 3_500
    assert [NAMES[labels[row]] for row in rows] == list(domain.labels)
    assert min(Counter(domain.labels).values()) > 85 and domain.notes == ()
    assert load_hub_domain("owner/large", "large", num_examples=256) == domain, "not the same rows again"


def test_one_large_row_group_is_read_no_further_than_allowed_and_a_note_says_what_is_missing(hub):
    texts = long_texts(20_000)
    for name, labels in (("sorted", SORTED), ("mixed", ALTERNATING)):
        columns = {"text": texts, "label": labels}
        content = parquet(columns, {"label": NAMES}, row_group_size=20_000, use_dictionary=False)
        hub.add_dataset(f"owner/{name}", {"train.parquet": content})
        hub.requests.clear()
        domain = load_hub_domain(f"owner/{name}", name, num_examples=256)
        assert len(domain.texts) == 256 and hub.num_bytes < 6_000_000 < len(content) / 3
        if name == "sorted":
            (note,) = domain.notes
            assert note.startswith("All 256 rows that were read have the label 'negative'. If the dataset is sorted")
        else:
            assert domain.notes == () and min(Counter(domain.labels).values()) > 85


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl", "csv.gz", "jsonl.gz", "json"])
def test_a_small_file_sorted_by_label_gives_all_of_its_labels(hub, ending):
    texts, labels = [f"text {i}" for i in range(6_000)], sorted(i % 60 for i in range(6_000))
    if ending == "parquet":
        content = parquet({"text": texts, "label": labels})
    elif ending == "json":
        content = pd.DataFrame({"text": texts, "label": labels}).to_json(orient="records").encode()
    else:
        content = text_file(ending, texts, labels)
    hub.add_dataset("owner/intents", {f"train.{ending}": content})
    domain = load_hub_domain("owner/intents", "intents", num_examples=600)
    assert len(set(domain.labels)) == 60 and len(set(domain.texts)) == 600


@pytest.mark.parametrize("ending", ["csv", "jsonl", "csv.gz", "jsonl.gz"])
def test_of_a_large_text_file_only_the_beginning_is_read_which_a_note_says(hub, ending):
    content = text_file(ending, long_texts(16_000), SORTED[:16_000])
    hub.add_dataset("owner/large", {f"train.{ending}": content})
    domain = load_hub_domain("owner/large", "large", num_examples=256)
    assert len(domain.texts) == 256 and hub.num_bytes < 5_500_000 < len(content)
    assert "have the label '0'" in domain.notes[0]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_many_large_text_shards_give_each_their_beginning(hub, ending):
    shards = {
        f"data/train-{i:05}-of-00012.{ending}": text_file(ending, long_texts(1_500, i), [i // 6] * 1_500)
        for i in range(12)
    }
    hub.add_dataset("owner/large", shards)
    domain = load_hub_domain("owner/large", "large", num_examples=256)
    assert Counter(domain.labels) == {"0": 128, "1": 128}
    assert hub.num_bytes < 7_000_000 < sum(map(len, shards.values())) / 2
    assert len({r.path for r in hub.asked("." + ending)}) == 8, "other shards than those needed were touched"
    assert len(set(load_hub_domain("owner/large", "large", num_examples=15_000).texts)) == 15_000


def test_labels_that_were_not_found_are_named(hub):
    texts, labels = long_texts(20_000), [0] * 19_000 + [1] * 1_000
    classes = {"label": ["one", "two", "three"]}
    content = parquet({"text": texts, "label": labels}, classes, row_group_size=500, use_dictionary=False)
    hub.add_dataset("owner/data", {"train.parquet": content})
    (note,) = load_hub_domain("owner/data", "d", num_examples=256).notes
    assert note.startswith("Of 3 labels, 1 were not found in 256 rows: 'three'.")
    few = parquet({"text": ["a", "b"], "label": [1, 1]}, classes)
    hub.add_dataset("owner/few", {"train.parquet": few})
    assert load_hub_domain("owner/few", "d", num_examples=256).notes == ("Every row has the label 'two'.",)
    assert load_hub_domain("owner/few", "d", num_examples=256, label_column=None).notes == ()


def in_memory(contents: dict[str, bytes]) -> DatasetFiles:
    sizes = {path: len(content) for path, content in contents.items()}
    return DatasetFiles("owner/data", "c0ffee", sizes, lambda path: io.BufferedReader(io.BytesIO(contents[path])))


Numbers = st.lists(st.integers(0, 60), min_size=1, max_size=12)


@given(num_rows=Numbers, group=st.integers(1, 30), wanted=st.integers(1, 400), endings=st.integers(0, 2))
def test_as_many_rows_as_asked_or_all_there_are_and_none_twice(
    num_rows: list[int], group: int, wanted: int, endings: int
):
    # Rows of very different lengths: a file's size says little about how many it holds.
    contents, every = {}, []
    for i, count in enumerate(num_rows):
        rows = [{"text": f"{i} {row} " + "x" * (i * 37 % 5 * 50)} for row in range(count)]
        every += [row["text"] for row in rows]
        if (i + endings) % 3:
            contents[f"{i:02}.jsonl"] = (
                pd.DataFrame(rows).to_json(orient="records", lines=True).encode() if rows else b""
            )
        else:
            contents[f"{i:02}.parquet"] = parquet({"text": [row["text"] for row in rows]}, row_group_size=group)
    found = [row["text"] for row in sample_rows(in_memory(contents), sorted(contents), ["text"], wanted)]
    assert len(found) == len(set(found)) == min(wanted, len(every))
    assert set(found) <= set(every)


def test_rows_that_take_no_bytes_are_not_read_without_end():
    files = in_memory({"a.parquet": parquet({"n": list(range(200_000)), "text": ["same"] * 200_000})})
    rows = sample_rows(files, ["a.parquet"], ["text", "n"], 50)
    assert len(rows) == 50 and MAX_ROWS / 2 < max(row["n"] for row in rows) < MAX_ROWS


@given(count=st.integers(0, 200), most=st.integers(1, 50))
def test_even_picks_reach_from_the_first_to_the_last(count: int, most: int):
    picked = pick_evenly(range(count), most)
    assert len(picked) == min(count, most) and picked == sorted(set(picked))
    if count and most > 1:
        assert (picked[0], picked[-1]) == (0, count - 1)
        gaps = [b - a for a, b in pairwise(picked)]
        assert not gaps or max(gaps) - min(gaps) <= 1
