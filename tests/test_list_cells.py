"""Lists in cells: words and their labels from every format to a domain, through a project's files, and from the hub."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from dataset_files import parquet
from hypothesis import given
from hypothesis import strategies as st
from tiny_taggers import make_sentences, tags_of, write_sentences, write_tagger

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.checks import count_labels, describe_overlap
from fusion_ui.domains.columns import preview
from fusion_ui.domains.data_files import read_table
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.hub import load_hub_domain
from fusion_ui.domains.hub_preview import preview_hub_domain
from fusion_ui.domains.items import JOINER, NO_ITEMS, join_items, split_items
from fusion_ui.domains.loaders import load_domain
from fusion_ui.domains.summary import summarise
from fusion_ui.domains.tagged_words import has_tagged_words, list_words
from fusion_ui.errors import DomainError, RecipeError
from fusion_ui.plots.domain_summary import domain_summary_figure
from fusion_ui.projects.building import add_domain, add_expert, blank_project
from fusion_ui.projects.labels import label_table, rename_labels
from fusion_ui.projects.project import read_split
from fusion_ui.tasks.tokenizer import Tokenizer

WORDS = [["EU", "rejects", "German", "call"], ["Peter"], ["10 000", "$"]]
TAGS = [["B-ORG", "O", "B-MISC", "O"], ["B-PER"], ["O", "O"]]
NAMES = ["O", "B-ORG", "B-MISC", "B-PER"]

item = st.text(st.characters(blacklist_categories=["Cs"]), max_size=6).map(lambda text: text.replace(JOINER, ""))


@given(items=st.lists(item.map(str.strip), max_size=5))
def test_a_list_is_the_same_again(items: list[str]):
    kept = [text if text.strip() else "" for text in items]
    found = split_items(join_items(items))
    assert list(found) == ([] if not items else kept)


@given(rows=st.lists(st.lists(item.map(str.strip).filter(bool), min_size=1, max_size=4), min_size=30, max_size=32))
def test_a_projects_files_keep_lists_as_they_are(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]):
    rows = [[f"{number}", *words] for number, words in enumerate(rows)]
    labels = tuple(join_items(words[::-1]) for words in rows)
    source = Domain("x", "x", "x", tuple(map(join_items, rows)), labels)
    project, _ = add_domain(blank_project(), "x", source, tmp_path_factory.mktemp("lists"))
    splits = [read_split(project.domains[0], split) for split in ("calibrate", "select", "report")]
    found = {both for part in splits for both in zip(part.texts, part.labels, strict=True)}
    assert found <= set(zip(source.texts, labels, strict=True)) and len(found) >= 0.9 * len(rows)


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet"])
def test_lists_are_read_from_every_format_that_has_them(tmp_path: Path, ending: str):
    path = tmp_path / f"data{ending}"
    frame = pd.DataFrame({"id": range(3), "tokens": WORDS, "pos_tags": [[1] * len(w) for w in WORDS], "ner_tags": TAGS})
    {
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".json": lambda: frame.to_json(path, orient="records"),
        ".parquet": lambda: frame.to_parquet(path),
    }[ending]()
    seen = preview(path)
    assert (seen.guess.text_columns, seen.guess.label_column) == (("tokens",), "ner_tags")
    assert seen.guess.reason == "'tokens' holds words and 'ner_tags' a label for each."
    assert seen.rows[0][1:] == ("EU rejects German call", "1 1 1 1", "B-ORG O B-MISC O")
    assert dict(seen.num_by_label) == {"O": 4, "B-ORG": 1, "B-MISC": 1, "B-PER": 1}
    domain = load_domain(path, "x", "tokens", "ner_tags")
    assert [list(split_items(text)) for text in domain.texts] == WORDS
    assert [list(split_items(label)) for label in domain.labels] == TAGS and has_tagged_words(domain)
    numbers = load_domain(path, "x", "tokens", "pos_tags")
    assert split_items(numbers.labels[0]) == ("1",) * 4


def test_words_with_spaces_between_are_seen_for_what_they_are(tmp_path: Path):
    path = tmp_path / "data.csv"
    path.write_text("words,tags\nEU rejects German,B-ORG O B-MISC\nPeter,B-PER\n", "utf-8")
    seen = preview(path)
    assert (seen.guess.text_columns, seen.guess.label_column) == (("words",), "tags")
    assert dict(seen.num_by_label) == {"B-ORG": 1, "O": 1, "B-MISC": 1, "B-PER": 1}
    domain = load_domain(path, "x", "words", "tags")
    assert domain.texts[0] == "EU rejects German", "a file's text stays as it is until something is made of it"
    listed = list_words(domain)
    assert listed.texts == (join_items(["EU", "rejects", "German"]), join_items(["Peter"]))
    plain = Domain("x", "x", "x", ("a fine film", "dull"), ("very good", "bad"))
    assert list_words(plain) is plain, "labels of several words are no labels of several words"


def test_conll_files_are_rows_of_lists(tmp_path: Path):
    path = tmp_path / "data.conll"
    lines = [
        "-DOCSTART- -X- -X- O",
        "",
        "EU NNP B-NP B-ORG",
        "rejects VBZ B-VP O",
        "# VBZ B-VP O",
        "",
        "",
        "# a comment",
    ]
    path.write_text("\n".join([*lines, "Peter NNP B-NP B-PER"]) + "\n", "utf-8")
    assert read_table(path).columns == ("text", "#2", "#3", "label")
    domain = load_domain(path, "x")
    assert [split_items(text) for text in domain.texts] == [("EU", "rejects", "#"), ("Peter",)]
    assert [split_items(text) for text in domain.labels] == [("B-ORG", "O", "O"), ("B-PER",)]
    assert preview(path).guess.has_tagged_words and preview(path).num_rows == 2
    (tmp_path / "data.bio").write_text("New York\tB-LOC\r\nis\tO\r\n", "utf-8")
    assert split_items(load_domain(tmp_path / "data.bio", "x").texts[0]) == ("New York", "is")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("EU B-ORG\nrejects\nGerman B-MISC\n", "line 2 has 1 columns where most have 2. Write a word and its label on"),
        ("EU\nrejects\n", "its lines have one column"),
        ("\n\n", "has no rows. Write a word and its label on each line"),
        ("", "it is empty"),
        ("-DOCSTART- O\n\n", "has no rows"),
    ],
)
def test_a_broken_conll_file_is_refused_with_the_line(tmp_path: Path, text: str, message: str):
    path = tmp_path / "data.conll"
    path.write_text(text, "utf-8")
    with pytest.raises(DomainError, match=message) as error:
        load_domain(path, "x")
    assert str(path) in str(error.value) and str(error.value).endswith(".")


def test_an_empty_list_is_no_text_and_a_label_of_none(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    rows = [{"text": ["a"], "label": ["O"]}, {"text": [], "label": []}, {"text": ["b"], "label": []}]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    domain = load_domain(path, "x")
    assert domain.labels == (join_items(["O"]), NO_ITEMS)
    assert domain.notes == ("1 of 3 rows are left out: 1 without 'text'.",)


@pytest.mark.parametrize("where", ["schema", "old schema", "card", "card list"])
def test_class_names_of_lists_are_found_on_the_hub(hub, where: str):
    numbers = [[NAMES.index(tag) for tag in tags] for tags in TAGS]
    columns = {"tokens": WORDS, "ner_tags": numbers}
    names = {"names": NAMES, "_type": "ClassLabel"}
    feature = [names] if where == "old schema" else {"feature": names, "_type": "List"}
    metadata = json.dumps({"info": {"features": {"ner_tags": feature, "tokens": {"_type": "List"}}}})
    key = "list" if where == "card list" else "sequence"
    listed = ", ".join(f"'{i}': {name}" for i, name in enumerate(NAMES))
    card = f"---\ndataset_info:\n  features:\n  - name: tokens\n    {key}: string\n  - name: ner_tags\n    {key}:\n"
    card += f"      class_label:\n        names: {{{listed}}}\n---\n"
    if "schema" in where:
        files = {"train.parquet": with_metadata(columns, metadata)}
    else:
        files = {"train.parquet": parquet(columns), "README.md": card.encode()}
    hub.add_dataset("owner/ner", files)
    seen = preview_hub_domain("owner/ner")
    assert (seen.guess.text_columns, seen.guess.label_column) == (("tokens",), "ner_tags")
    assert seen.rows[0] == ("EU rejects German call", "B-ORG O B-MISC O")
    for options in ({}, {"num_examples": 3}):
        domain = load_hub_domain("owner/ner", "ner", text_column="tokens", label_column="ner_tags", **options)
        assert [list(split_items(label)) for label in domain.labels] == TAGS
        assert [list(split_items(text)) for text in domain.texts] == WORDS and domain.notes == ()


def with_metadata(columns: dict, metadata: str) -> bytes:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(columns).replace_schema_metadata({"huggingface": metadata}), buffer)
    return buffer.getvalue()


def test_words_are_counted_and_shown_by_their_labels(tmp_path: Path):
    path = write_sentences(tmp_path / "data.csv", make_sentences(40, ("per", "loc")))
    tokenizer = Tokenizer(Checkpoint("a", write_tagger(tmp_path / "a", tags_of("per", "loc")), "a"), 32)
    domain = load_domain(path, "x")
    found = summarise(domain, tokenizer)
    assert found.num_words == sum(found.num_by_label.values()) == sum(len(text.split()) for text in domain.texts)
    assert count_labels(list_words(domain)) == dict(found.num_by_label) and set(found.num_by_label) <= {
        *tags_of("per", "loc")
    }
    listed = summarise(list_words(domain), tokenizer)
    assert found.token_lengths == listed.token_lengths
    encoded = tokenizer.encode_words([text.split() for text in domain.texts])
    assert found.token_lengths and list(found.token_lengths.lengths) == sorted(map(len, encoded))
    figure = domain_summary_figure(found)
    assert figure["layout"]["xaxis"]["title"]["text"] == "words with each label"
    shares = [float(text.rstrip("%")) for text in figure["data"][0]["text"]]
    assert sum(shares) == pytest.approx(100, abs=3)
    said = describe_overlap(list_words(domain), domain)
    assert said is not None and JOINER not in said and "\\x1f" not in said


def test_a_project_of_taggers_names_tags_one_by_one(tmp_path: Path):
    model = write_tagger(tmp_path / "a", ("O", "I-PER", "B-LOC", "I-LOC"))
    project, warnings = add_expert(blank_project(), "a", Checkpoint("", model, "owner/a"))
    assert warnings == ["It knows I-PER and no B-PER: two such entities side by side are read as one."]
    sentences = make_sentences(60, ("per", "loc"))
    source = load_domain(write_sentences(tmp_path / "data.csv", sentences), "a")
    project, _ = add_domain(project, "a", source, tmp_path / "domains")
    rows = label_table(project)
    assert {row[1] for row in rows if row[0] == "a (data)"} == {*tags_of("per", "loc")}
    renamed = rename_labels(project, [(who, label, "I-PER" if label == "B-PER" else name) for who, label, name in rows])
    report = read_split(renamed.domains[0], "report")
    assert {tag for label in report.labels for tag in split_items(label)} == {"O", "I-PER", "B-LOC", "I-LOC"}
    before = read_split(project.domains[0], "report")
    assert [len(split_items(label)) for label in before.labels] == [len(split_items(label)) for label in report.labels]
    with pytest.raises(RecipeError, match="not this project's"):
        rename_labels(project, rows[1:])
