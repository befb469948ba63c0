"""Datasets from the hub: their layouts, few bytes for few rows, class names, and refusals in plain words."""

from __future__ import annotations

import gzip
import io
import json
import random
from collections.abc import Iterator, Mapping

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import HubServer

from fusion_ui.domains.domain import Domain
from fusion_ui.domains.hub import list_configs_and_splits, load_hub_domain
from fusion_ui.errors import DomainError, SourceError, SourceUnavailableError

TOKEN = "hf_ofTheVisitor"
NAMES = ["negative", "positive"]
TEXTS = ("fine, really", "NA", "", 'a "quoted" word', "naïve ☕")
LABELS = (1, 0, 0, 1, 0)


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[HubServer]:
    monkeypatch.setenv("HF_TOKEN", "hf_ofTheOwner")
    with HubServer() as server:
        server.redirect(monkeypatch, tmp_path / "hub")
        yield server
        assert "hf_ofTheOwner" not in server.tokens, "the owner's token was sent"


def parquet(columns: Mapping[str, object], class_names: Mapping[str, list[str]] | None = None, **options) -> bytes:
    """A Parquet file, with the metadata that the library `datasets` writes for columns of classes."""
    table, buffer = pa.table(dict(columns)), io.BytesIO()
    if class_names:
        features = {name: {"names": names, "_type": "ClassLabel"} for name, names in class_names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def csv(separator: str = ",") -> bytes:
    return pd.DataFrame({"text": TEXTS, "label": LABELS}).to_csv(index=False, sep=separator).encode()


def json_rows() -> list[dict[str, object]]:
    return [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]


JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in json_rows()).encode()
EVERY_FORMAT = {
    "train.parquet": parquet({"text": TEXTS, "label": LABELS}),
    "train.csv": csv(),
    "train.tsv": csv("\t"),
    "train.jsonl": JSONL,
    "train.json": json.dumps(json_rows()).encode(),
    "lines/train.json": JSONL,
    "train.csv.gz": gzip.compress(csv()),
    "train.jsonl.gz": gzip.compress(JSONL),
}
CLASSES = """---
license: mit
dataset_info:
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': negative
          '1': positive
---
# A dataset
"""


@pytest.mark.parametrize("path", EVERY_FORMAT)
def test_every_format_gives_the_same_rows(hub, path):
    hub.add_dataset("owner/data", {path: EVERY_FORMAT[path]})
    labels = tuple(map(str, LABELS))
    assert load_hub_domain("owner/data", "news", title="News") == Domain("news", "News", "train", TEXTS, labels)
    assert load_hub_domain("owner/data", "news", num_examples=2).texts == TEXTS[:2]
    assert load_hub_domain("owner/data", "news", label_column=None).labels == ()
    hub.add_dataset("owner/data", {path: EVERY_FORMAT[path], "README.md": CLASSES.encode()})
    assert load_hub_domain("owner/data", "news").labels == tuple(NAMES[i] for i in LABELS)


def test_pairs_are_read_only_where_they_are_asked_for(hub):
    columns = {"premise": ["a", "b"], "hypothesis": ["c", None], "verdict": [1, 0]}
    hub.add_dataset("owner/nli", {"data/train-00000-of-00001.parquet": parquet(columns, {"verdict": NAMES})})
    columns = {"text_column": "premise", "label_column": "verdict"}
    domain = load_hub_domain("owner/nli", "nli", **columns, pair_column="hypothesis")
    assert (domain.texts, domain.pairs, domain.labels) == (("a", "b"), ("c", ""), ("positive", "negative"))
    assert load_hub_domain("owner/nli", "nli", **columns).pairs == ()


def long_texts(num_texts: int, seed: int = 0) -> list[str]:
    """Texts of a kilobyte that cannot be compressed."""
    generator = random.Random(seed)
    return [generator.randbytes(512).hex() for _ in range(num_texts)]


@pytest.mark.parametrize("row_group_size", [500, 20_000], ids=["many row groups", "one row group"])
def test_256_rows_of_a_large_parquet_file_fetch_little(hub, row_group_size):
    texts = long_texts(20_000)
    columns = {"text": texts, "label": [0, 1] * 10_000, "other": texts[::-1]}
    content = parquet(columns, {"label": NAMES}, row_group_size=row_group_size, use_dictionary=False)
    hub.add_dataset("owner/large", {"data/train-00000-of-00001.parquet": content})
    domain = load_hub_domain("owner/large", "large", num_examples=256)
    assert domain.texts == tuple(texts[:256]) and domain.labels[:2] == ("negative", "positive")
    assert len(content) > 20_000_000
    assert hub.num_bytes < 3_000_000, f"{hub.num_bytes} bytes for 256 kB of text"


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_256_rows_of_many_large_text_shards_fetch_one_beginning(hub, ending):
    frame = pd.DataFrame({"text": long_texts(4_000), "label": [0, 1] * 2_000})
    content = frame.to_csv(index=False) if ending == "csv" else frame.to_json(orient="records", lines=True)
    shards = {f"data/train-0000{i}-of-00003.{ending}": content.encode() for i in range(3)}
    hub.add_dataset("owner/large", shards)
    assert len(load_hub_domain("owner/large", "large", num_examples=256).texts) == 256
    assert hub.num_bytes < 1_500_000 < sum(map(len, shards.values())) / 4
    assert hub.asked("00001-of-00003." + ending) == [], "a shard was touched that is not needed"
    assert len(load_hub_domain("owner/large", "large", num_examples=5_000).texts) == 5_000


CONFIGS = """---
configs:
- config_name: plain
  data_files: plain/*.csv
- config_name: both
  default: true
  data_files:
  - split: train
    path: [both/a.csv, "both/b-*.csv"]
  - split: test
    path: both/**/t.csv
- config_name: folder
  data_dir: folder
- config_name: outside
  data_files: ["/etc/passwd", "../other/x.csv", "https://example.org/x.csv", "hf://datasets/a/b/x.csv"]
---
"""


def test_configurations_and_splits_come_from_the_card(hub):
    paths = ["plain/x.csv", "both/a.csv", "both/b-1.csv", "both/b-2.csv", "both/c/t.csv"]
    paths += ["folder/train.csv", "folder/dev.csv", "stray.csv"]
    files = {path: f"text,label\n{path},1\n".encode() for path in paths}
    hub.add_dataset("owner/data", files | {"README.md": CONFIGS.encode(), "data.py": b"raise SystemExit"})
    assert list_configs_and_splits("owner/data") == {
        "plain": ("train",),
        "both": ("train", "test"),
        "folder": ("train", "validation"),
    }
    assert load_hub_domain("owner/data", "d").texts == ("both/a.csv", "both/b-1.csv", "both/b-2.csv")
    domain = load_hub_domain("owner/data", "d", config="folder", split="validation")
    assert (domain.split, domain.texts) == ("validation", ("folder/dev.csv",))
    with pytest.raises(DomainError, match=r"has no configuration 'outside'. It has: plain, both, folder\."):
        load_hub_domain("owner/data", "d", config="outside")
    with pytest.raises(DomainError, match=r"\(both\) has no split 'dev'. It has: train, test\."):
        load_hub_domain("owner/data", "d", split="dev")
    with pytest.raises(DomainError, match=r"plain/x.csv of .* has no column 'label2'. Its columns are: text, label\."):
        load_hub_domain("owner/data", "d", config="plain", label_column="label2")


@pytest.mark.parametrize(
    ("paths", "splits"),
    [
        (["data/train-00000-of-00002.csv", "data/train-00001-of-00002.csv", "data/test-00000-of-00001.csv"], 2),
        (["my_train.csv", "my_dev.csv", "eval.csv"], 3),
        (["train/one.csv", "test/one.csv"], 2),
        (["reviews.csv", "more.csv"], 1),
        (["training.csv", ".hidden/test.csv", "__MACOSX/test.csv"], 1),
        (["trainer.csv", "latest.csv"], 1),
    ],
)
def test_without_a_card_the_names_of_the_files_say_the_splits(hub, paths, splits):
    hub.add_dataset("owner/data", dict.fromkeys(paths, csv()))
    found = list_configs_and_splits("owner/data")["default"]
    assert found == (("train", "test") if splits == 2 else ("train", "validation", "test")[:splits])


def test_a_dataset_that_needs_a_script_is_taken_from_the_hubs_own_copy(hub):
    script = {"data.py": b"raise SystemExit", "dataset_infos.json": b"{}"}
    hub.add_dataset("owner/scripted", script)
    with pytest.raises(DomainError, match=r"has no file that can be read here.*made by a script"):
        list_configs_and_splits("owner/scripted")
    copy = {
        "cola/train/0000.parquet": parquet({"text": ["a"], "label": [1]}, {"label": NAMES}),
        "cola/partial-test/0000.parquet": parquet({"text": ["b"], "label": [-1]}, {"label": NAMES}),
        "sst2/train/0000.parquet": parquet({"text": ["c"], "label": [0]}, {"label": NAMES}),
    }
    hub.add_dataset("owner/scripted", copy, revision="refs/convert/parquet")
    assert list_configs_and_splits("owner/scripted") == {"cola": ("test", "train"), "sst2": ("train",)}
    assert load_hub_domain("owner/scripted", "d", config="sst2").labels == ("negative",)
    with pytest.raises(DomainError, match=r"has several configurations; choose one\. It has: cola, sst2"):
        load_hub_domain("owner/scripted", "d")
    with pytest.raises(DomainError, match=r"holds -1 in its column 'label' in some row, which is no label"):
        load_hub_domain("owner/scripted", "d", config="cola", split="test")
    assert load_hub_domain("owner/scripted", "d", config="cola", split="test", label_column=None).texts == ("b",)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train.csv": b""}, "train.csv of the dataset owner/data cannot be read"),
        ({"train.csv": b"text,label\n"}, "has no rows in its split train"),
        ({"train.csv": b"\xff\xfe\x00"}, "cannot be read"),
        ({"train.parquet": b"PAR1 not really"}, "cannot be read"),
        ({"train.jsonl": b'{"text": "a", "label": 1}\n{'}, "cannot be read"),
        ({"train.jsonl": b'["a"]\n["b"]\n'}, "cannot be read"),
        ({"train.jsonl": b'"a"\n'}, "does not hold one JSON object for each row"),
        ({"train.jsonl": b"[" * 100_000}, "cannot be read"),
        ({"train.csv.gz": b"not packed"}, "cannot be read"),
        ({"train.jsonl": b'{"text": ["a"], "label": 1}'}, "holds lists or structures in its column 'text'"),
        ({"train.jsonl": b'{"text": "a", "label": null}'}, "holds nothing in its column 'label'"),
        ({"train.parquet": parquet({"text": ["a", "b"], "label": [1.0, None]})}, "holds nothing in its column"),
        ({"README.md": b"---\na: [\n---\n", "train.csv": csv()}, "The card of the dataset owner/data cannot be read"),
        ({"README.md": b"---\na: " + b"[" * 50_000 + b"\n---\n"}, "The card of the dataset owner/data cannot be read"),
        (
            {"images.zip": b"", "train.txt": b"x"},
            r"has no file that can be read here. It needs one that ends in \.parq",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(hub, files, message):
    hub.add_dataset("owner/data", files)
    with pytest.raises((DomainError, SourceError), match=message):
        load_hub_domain("owner/data", "d")


def test_half_a_character_is_replaced(hub):
    hub.add_dataset("owner/data", {"train.jsonl": b'{"text": "half \\ud83d", "label": 1}'})
    assert load_hub_domain("owner/data", "d").texts == ("half \ufffd",)


def test_numbers_that_stand_for_no_class_stay_numbers(hub):
    hub.add_dataset("owner/data", {"train.parquet": parquet({"text": ["a", "b", "c"], "label": [1.0, 0.5, 2.0]})})
    assert load_hub_domain("owner/data", "d").labels == ("1", "0.5", "2")


def test_paths_words_and_wrong_numbers_are_refused_before_anything_is_asked(hub):
    for name in ("private", "text", "/etc", "../x", "csv", "tests/../x", "hf://datasets/a/b"):
        with pytest.raises(SourceError, match="is not the name of a hub repository"):
            load_hub_domain(name, "d")
    for number in (0, -1, 100_001):
        with pytest.raises(DomainError, match="must be from 1 to 100000"):
            load_hub_domain("owner/data", "d", num_examples=number)
    with pytest.raises(SourceError, match="is not a revision"):
        list_configs_and_splits("owner/data", revision="../x")
    assert hub.requests == []


def test_a_directory_of_the_same_name_is_not_read(hub, tmp_path, monkeypatch):
    (tmp_path / "owner" / "data").mkdir(parents=True)
    (tmp_path / "owner" / "data" / "train.csv").write_text("text,label\nsecret,1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceUnavailableError, match="The dataset owner/data does not exist or is private"):
        load_hub_domain("owner/data", "d")


def test_gated_datasets_need_the_visitors_token_and_it_is_sent_for_them_alone(hub):
    hub.add_dataset("owner/gated", {"train.csv": csv()}, gated_token=TOKEN)
    hub.add_dataset("owner/private", {"train.csv": csv()}, private_token=TOKEN)
    page = f"{hub.endpoint}/datasets/owner/gated"
    with pytest.raises(
        SourceUnavailableError, match=f"owner/gated is gated. Accept its licence at {page}, make a token"
    ):
        load_hub_domain("owner/gated", "d")
    with pytest.raises(SourceUnavailableError, match=r"The given token has no access to it yet") as caught:
        load_hub_domain("owner/gated", "d", token="hf_wrong")
    assert "hf_wrong" not in f"{caught.value!r} {caught.value.__context__!r}"
    with pytest.raises(SourceUnavailableError, match="does not exist or is private"):
        list_configs_and_splits("owner/private")
    hub.requests.clear()
    for name in ("owner/gated", "owner/private"):
        assert load_hub_domain(name, "d", token=TOKEN).texts == TEXTS
    assert hub.tokens == {TOKEN}
    hub.requests.clear()
    hub.add_dataset("owner/open", {"train.csv": csv()})
    load_hub_domain("owner/open", "d")
    assert hub.tokens == {None}, "the token of an earlier call was sent"


def test_a_revision_is_honoured_and_a_commit_stays_what_it_is(hub):
    first = hub.add_dataset("owner/data", {"train.csv": b"text,label\nold,1\n"})
    hub.add_dataset("owner/data", {"train.csv": b"text,label\nnew,1\n"})
    assert load_hub_domain("owner/data", "d").texts == ("new",)
    assert load_hub_domain("owner/data", "d", revision=first).texts == ("old",)


def test_a_cut_connection_while_rows_are_read_is_asked_again(hub):
    hub.add_dataset("owner/data", {"train.csv": csv()})
    hub.cut_next("train.csv", after_bytes=10)
    assert load_hub_domain("owner/data", "d").texts == TEXTS


def test_without_the_hub_a_downloaded_copy_serves_and_else_the_message_says_what_to_do(hub):
    from huggingface_hub import snapshot_download

    hub.add_dataset("owner/data", {"train.csv": csv(), "README.md": CLASSES.encode()})
    hub.add_dataset("owner/other", {"train.csv": csv()})
    snapshot_download("owner/data", repo_type="dataset", token=False)
    online = load_hub_domain("owner/data", "d")
    hub.close()
    assert load_hub_domain("owner/data", "d") == online
    assert list_configs_and_splits("owner/data") == {"default": ("train",)}
    with pytest.raises(
        SourceUnavailableError, match=r"The dataset owner/other could not be had: .* connect to a network"
    ):
        load_hub_domain("owner/other", "d")
