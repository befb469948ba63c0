"""Which files of a hub dataset are which configuration and split, from its card or their names."""

from __future__ import annotations

import time

import pytest
from dataset_files import NAMES, csv, parquet

from fusion_ui.domains.hub import list_configs_and_splits, load_hub_domain
from fusion_ui.errors import DomainError

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
    assert list_configs_and_splits("owner/scripted") == {"cola": ("train", "test"), "sst2": ("train",)}
    assert load_hub_domain("owner/scripted", "d", config="sst2").labels == ("negative",)
    with pytest.raises(DomainError, match=r"has several configurations; choose one\. It has: cola, sst2"):
        load_hub_domain("owner/scripted", "d")
    with pytest.raises(DomainError, match=r"holds -1 in its column 'label' in some row, which is no label"):
        load_hub_domain("owner/scripted", "d", config="cola", split="test")
    assert load_hub_domain("owner/scripted", "d", config="cola", split="test", label_column=None).texts == ("b",)


def test_configurations_are_listed_with_two_questions_however_many_files_there_are(hub):
    names = [f"subject_{i}" for i in range(300)]
    entries = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: test\n    path: {name}/test-*\n"
        f"  - split: train\n    path: {name}/train-*\n"
        for name in names
    )
    marked = entries.replace("config_name: subject_7\n", "config_name: subject_7\n  default: true\n")
    files = {f"{name}/{split}-0000{i}.csv": b"" for name in names for split in ("train", "test") for i in range(5)}
    hub.add_dataset("owner/many", files | {"README.md": f"---\nconfigs:\n{marked}---\n".encode()})
    started = time.perf_counter()
    found = list_configs_and_splits("owner/many")
    assert time.perf_counter() - started < 10, "every pattern is compared with every path"
    assert len(hub.requests) == 2 and hub.asked("README.md")
    assert len(found) == 300 and set(found.values()) == {("train", "test")}
    assert next(iter(found)) == "subject_7", "the default does not come first"


@pytest.mark.parametrize(
    "info",
    ["5", "[5, {features: 5, splits: 5}]", "{features: [5, {name: label, dtype: {class_label: {names: {x: y}}}}]}"],
)
def test_a_card_that_says_odd_things_of_classes_says_nothing(hub, info):
    hub.add_dataset("owner/data", {"train.csv": csv(), "README.md": f"---\ndataset_info: {info}\n---\n".encode()})
    assert set(load_hub_domain("owner/data", "d").labels) == {"0", "1"}
