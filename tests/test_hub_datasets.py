"""Datasets from the hub: every format, class names, whose token is sent, and refusals in plain words."""

from __future__ import annotations

import pytest
from dataset_files import CLASSES, EVERY_FORMAT, LABELS, NAMES, TEXTS, csv, parquet

from fusion_ui.domains.domain import Domain
from fusion_ui.domains.hub import list_configs_and_splits, load_hub_domain
from fusion_ui.errors import DomainError, SourceError, SourceUnavailableError

TOKEN = "hf_ofTheVisitor"


@pytest.mark.parametrize("path", EVERY_FORMAT)
def test_every_format_gives_the_same_rows(hub, path):
    hub.add_dataset("owner/data", {path: EVERY_FORMAT[path]})
    labels = tuple(map(str, LABELS))
    assert load_hub_domain("owner/data", "news", title="News") == Domain("news", "News", "train", TEXTS, labels)
    assert set(load_hub_domain("owner/data", "news", num_examples=2).texts) < set(TEXTS)
    assert load_hub_domain("owner/data", "news", num_examples=50).texts == TEXTS
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
        ({"train.jsonl": b'{"text": [["a"]], "label": 1}'}, "holds structures in its column 'text'"),
        ({"train.jsonl": b'{"text": {"a": 1}, "label": 1}'}, "holds structures in its column 'text'"),
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
