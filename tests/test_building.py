"""A person's own project: every step adds what fits, and refuses what does not without changing anything."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import random_texts, tiny_bert, write_model

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import DomainError, IncompatibleError, RecipeError
from fusion_ui.projects.building import SHARES, add_domain, add_expert, blank_project, remove
from fusion_ui.projects.project import read_split


def checkpoint(path: Path, **change: object) -> Checkpoint:
    model = write_model(path, tiny_bert(len(path.name), **change))
    return Checkpoint("", model, f"owner/{path.name}", "c0ffee")


def domain(name: str, num_texts: int = 60, seed: int = 0) -> Domain:
    labels = random.Random(seed).choices(("negative", "positive"), k=num_texts)
    return Domain(name, name, "file", random_texts(num_texts, seed), tuple(labels))


def test_models_and_domains_find_each_other(tmp_path: Path):
    project, warnings = add_expert(blank_project(), "", checkpoint(tmp_path / "reviews"))
    assert [(e.name, e.source, e.revision) for e in project.experts] == [("reviews", "owner/reviews", "c0ffee")]
    assert warnings == [] and not project.is_complete
    project, _ = add_expert(project, "mine", checkpoint(tmp_path / "other"))
    project, notes = add_domain(project, "mine", domain("file"), tmp_path / "domains")
    assert [e.domain for e in project.experts] == ["", "mine"] and notes == [] and project.is_complete
    project, _ = add_domain(project, "", domain("anything", seed=1), tmp_path / "domains")
    assert [e.domain for e in project.experts] == ["anything", "mine"]
    parts = [pd.read_csv(getattr(project.domains[0], split)) for split in ("calibrate", "select", "report")]
    assert [len(part) for part in parts] == [24, 12, 24]
    assert len(set(pd.concat(parts)["text"])) == 60, "a sentence stands in two parts"
    smaller = remove(project, "mine")
    assert [e.name for e in smaller.experts] == ["reviews"] and [d.name for d in smaller.domains] == ["anything"]


def test_sentences_shared_by_calibration_and_report_are_named(tmp_path: Path):
    project, _ = add_domain(blank_project(), "a", domain("a"), tmp_path / "domains")
    same = domain("b")
    turned = Domain("b", "b", "file", same.texts[::-1], same.labels[::-1])
    _, notes = add_domain(project, "b", turned, tmp_path / "domains")
    assert any("sentences of b (report) stand in a (calibrate) too, for example" in note for note in notes)


def test_pairs_are_kept_from_the_source_to_every_split(tmp_path: Path):
    plain = domain("nli")
    seconds = tuple(f"{text} second" for text in plain.texts)
    project, notes = add_domain(blank_project(), "nli", replace(plain, pairs=seconds), tmp_path / "domains")
    (added,) = project.domains
    parts = [read_split(added, split) for split in ("calibrate", "select", "report")]
    assert notes == [] and [len(part.texts) for part in parts] == [24, 12, 24]
    found = {both for part in parts for both in zip(part.texts, part.pairs, strict=True)}
    assert found == set(zip(plain.texts, seconds, strict=True))
    assert list(pd.read_csv(added.train).columns) == ["text", "label", "pair"]
    alone, _ = add_domain(blank_project(), "nli", plain, tmp_path / "domains")
    assert alone.domains[0].pair_column is None and read_split(alone.domains[0], "report").pairs == ()


def test_pairs_are_the_same_only_if_both_texts_are(tmp_path: Path):
    seconds = tuple(f"h{i % 40}" for i in range(60))
    pairs = Domain("nli", "nli", "file", ("the one premise",) * 60, ("negative", "positive") * 30, seconds)
    project, notes = add_domain(blank_project(), "nli", pairs, tmp_path / "domains")
    assert notes == ["20 repeated sentences were left out."]
    parts = [read_split(project.domains[0], split) for split in ("calibrate", "select", "report")]
    assert sorted(pair for part in parts for pair in part.pairs) == sorted(f"h{i}" for i in range(40))
    _, notes = add_domain(project, "other", replace(pairs, pairs=tuple(f"i{i}" for i in range(60))), tmp_path / "d")
    assert notes == []
    _, notes = add_domain(project, "same", replace(pairs, pairs=seconds[::-1]), tmp_path / "d")
    assert any("of same (report) stand in nli (calibrate) too" in note for note in notes)


def test_no_two_splits_share_a_sentence_apart_from_case_and_space(tmp_path: Path):
    plain = domain("a")
    shouted = tuple(f" {text.upper()}" for text in plain.texts)
    twice = Domain("a", "a", "file", plain.texts + shouted, plain.labels * 2)
    project, notes = add_domain(blank_project(), "a", twice, tmp_path / "domains")
    assert notes == ["60 repeated sentences were left out."]
    assert {text for split in SHARES for text in read_split(project.domains[0], split).texts} == set(plain.texts)


odd_text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(str.strip)


@given(texts=st.lists(odd_text, min_size=60, max_size=60), data=st.data())
def test_text_comes_back_from_a_project_as_it_was(texts: list[str], data: st.DataObject):
    seconds = tuple(data.draw(odd_text) + str(i) for i in range(len(texts)))  # numbered, so that all are different
    source = Domain("odd", "odd", "file", tuple(texts), ("a", "b") * 30, seconds)
    with tempfile.TemporaryDirectory() as folder:
        project, notes = add_domain(blank_project(), "odd", source, Path(folder))
        parts = [read_split(project.domains[0], split) for split in SHARES]
    assert notes == [] and [part.notes for part in parts] == [()] * 3
    found = {row for part in parts for row in zip(part.texts, part.pairs, part.labels, strict=True)}
    assert found == set(zip(texts, seconds, source.labels, strict=True))


def test_rows_with_an_empty_cell_are_left_out_and_counted(tmp_path: Path):
    plain = domain("a")
    gaps = replace(plain, texts=("", " ", *plain.texts[2:]))
    project, notes = add_domain(blank_project(), "a", gaps, tmp_path / "domains")
    assert notes == ["2 rows with an empty text or label were left out."]
    assert sum(len(read_split(project.domains[0], split).texts) for split in SHARES) == 57  # 23 + 11 + 23


def test_names_that_look_alike_and_names_used_again_never_share_files(tmp_path: Path):
    project, _ = add_domain(blank_project(), "yelp 2020", domain("a"), tmp_path / "domains")
    project, _ = add_domain(project, "yelp-2020", domain("b", seed=1), tmp_path / "domains")
    first, second = project.domains
    assert pd.read_csv(first.report)["text"].tolist() != pd.read_csv(second.report)["text"].tolist()
    again, _ = add_domain(remove(project, "yelp 2020"), "yelp 2020", domain("c", seed=2), tmp_path / "domains")
    assert again.domains[-1] != first


def test_what_does_not_fit_is_refused(tmp_path: Path):
    project, _ = add_expert(blank_project(), "first", checkpoint(tmp_path / "first"))
    with pytest.raises(IncompatibleError, match="first and wide cannot be merged: they differ in width"):
        add_expert(project, "", checkpoint(tmp_path / "wide", hidden_size=32))
    with pytest.raises(RecipeError, match="something called 'first' already"):
        add_expert(project, "first", checkpoint(tmp_path / "again"))
    with pytest.raises(RecipeError, match="cannot begin with a colon"):
        add_expert(project, ":statistics", checkpoint(tmp_path / "colon"))
    with pytest.raises(DomainError, match=r"has 12 different sentences\. At least 30"):
        add_domain(project, "few", domain("few", 12), tmp_path / "domains")
    with pytest.raises(DomainError, match="has no labels"):
        add_domain(project, "bare", Domain("bare", "bare", "file", random_texts(40), ()), tmp_path / "domains")
    for number in range(7):
        project, _ = add_expert(project, f"e{number}", checkpoint(tmp_path / "more"))
    with pytest.raises(RecipeError, match="room for 8 models"):
        add_expert(project, "ninth", checkpoint(tmp_path / "more"))
