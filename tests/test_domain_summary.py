"""What is said of a domain before it is used, against counts made otherwise, and its figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import random_texts, tiny_bert, write_model
from transformers import AutoTokenizer

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains import summary as summaries
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.summary import DomainSummary, TokenLengths, summarise
from fusion_ui.plots.domain_summary import MAX_BARS, MAX_BINS, domain_summary_figure
from fusion_ui.tasks.tokenizer import Tokenizer


class Words:
    """A tokenizer of words, with one special token for every text; notes what it was given."""

    max_tokens = 5

    def __init__(self) -> None:
        self.asked: list[str] = []

    def count_tokens(self, texts: Sequence[str], pairs: Sequence[str] = ()) -> list[int]:
        self.asked += [*texts, *pairs]
        seconds = pairs or [""] * len(texts)
        return [1 + len(a.split()) + bool(pairs) + len(b.split()) for a, b in zip(texts, seconds, strict=True)]


def make(texts: Sequence[str], labels: Sequence[str] = (), **more: tuple[str, ...]) -> Domain:
    return Domain("news", "News", "file", tuple(texts), tuple(labels), **more)


def test_a_summary_says_what_is_in_a_domain():
    texts = ("one", "two words", "Two  WORDS", "a text of five words", "b")
    found = summarise(make(texts, "xyyyx", notes=("A note.",)), Words())
    assert (found.name, found.num_rows, found.num_duplicates) == ("news", 5, 1)
    assert list(found.num_by_label.items()) == [("y", 3), ("x", 2)]
    assert found.token_lengths == TokenLengths((2, 2, 3, 3, 6), 5)
    assert found.token_lengths.truncated_share == 0.2
    assert found.notes == ("A note.",)
    assert found.describe()["tokens"] == {
        "min": 2, "median": 3, "95%": 6, "max": 6, "max_length": 5, "truncated_share": 0.2,
    }  # fmt: skip
    assert summarise(make(texts), Words(), max_length=2).token_lengths.truncated_share == 0.6


def test_pairs_count_as_one_text_and_are_duplicates_only_together():
    found = summarise(make(["p", "p", "P"], pairs=("h", "two words", "h")), Words())
    assert found.token_lengths.lengths == (4, 4, 5) and found.num_duplicates == 1


def test_without_labels_or_a_tokenizer_those_parts_are_empty():
    found = summarise(make(["a", "b"]))
    assert (found.num_by_label, found.token_lengths, found.num_duplicates) == ({}, None, 0)
    assert found.describe()["tokens"] is None
    assert summarise(make([]), Words()).token_lengths is None


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=60), share=st.floats(0, 1))
def test_quantiles_are_those_of_the_distribution_function(lengths: list[int], share: float):
    found = TokenLengths(tuple(sorted(lengths)), 128)
    assert found.quantile(share) == np.quantile(lengths, share, method="inverted_cdf")
    assert found.truncated_share == pytest.approx(np.mean(np.array(lengths) > 128))


def test_work_on_a_huge_domain_is_bounded_and_said(monkeypatch):
    monkeypatch.setattr(summaries, "MAX_COUNTED", 50)
    monkeypatch.setattr(summaries, "MAX_COMPARED", 80)
    monkeypatch.setattr(summaries, "MAX_CHARACTERS", 30)
    texts = [f"text {i % 60} " + "w " * (i // 60) for i in range(3000)]
    words, again = Words(), Words()
    found = summarise(make(texts, ["x"] * 3000), words)
    assert len(words.asked) == 50 and max(map(len, words.asked)) <= 30
    assert len({text.split()[1] for text in words.asked}) > 20, "not drawn from all over the domain"
    assert found.num_by_label == {"x": 3000}, "labels are counted in every row"
    assert found.num_duplicates == 0
    assert found.notes[0] == "Tokens were counted in 50 of 3,000 rows, drawn at random."
    assert found.notes[1].endswith("texts of more than 30 characters were counted to there.")
    assert found.notes[2] == "Duplicates were looked for in the first 80 of 3,000 rows."
    assert summarise(make(texts, ["x"] * 3000), again) == found and again.asked == words.asked


def test_a_models_own_tokenizer_counts_what_it_would_cut(tmp_path, caplog):
    checkpoint = Checkpoint("m", write_model(tmp_path / "m", tiny_bert()), "test")
    texts, pairs = random_texts(20), tuple(f"{text} w1 w2" for text in random_texts(20, 1))
    texts = ("w1 " * 60, *texts[1:])
    tokenizer, plain = Tokenizer(checkpoint, 128), AutoTokenizer.from_pretrained(checkpoint.directory)
    found = summarise(make(texts), tokenizer).token_lengths
    assert found == TokenLengths(tuple(sorted(len(plain(text)["input_ids"]) for text in texts)), 32)
    assert (found.quantile(1), found.truncated_share) == (62, 0.05)
    both = summarise(replace(make(texts), pairs=pairs), tokenizer).token_lengths
    assert both.lengths == tuple(sorted(len(plain(a, b)["input_ids"]) for a, b in zip(texts, pairs, strict=True)))
    assert caplog.text == ""


def figure_of(lengths: Sequence[int] = (), max_length: int = 10, **num_by_label: int) -> tuple[list, dict]:
    found = TokenLengths(tuple(sorted(lengths)), max_length) if lengths else None
    num_rows = sum(num_by_label.values()) or len(lengths)
    figure = domain_summary_figure(DomainSummary("d", num_rows, num_by_label, found, 0, ()))
    go.Figure(figure)
    return figure["data"], figure["layout"]


def test_the_figure_shows_balance_above_lengths():
    (bars, histogram), layout = figure_of([4, 5, 5, 12], good=3, bad=1)
    assert (bars["x"], bars["text"], bars["orientation"]) == ([3, 1], ["75%", "25%"], "h")
    assert layout["yaxis"]["ticktext"] == ["good", "bad"] and layout["yaxis"]["autorange"] == "reversed"
    assert histogram["x"][:2] == [4, 5] and histogram["y"][:2] == [1, 2]
    assert (histogram["xaxis"], histogram["yaxis"]) == ("x2", "y2")
    assert layout["yaxis"]["domain"][0] > layout["yaxis2"]["domain"][1], "the panels lie over each other"
    assert layout["xaxis2"]["title"]["text"] == "tokens; 25% over 10 are cut"
    assert all("gridcolor" in layout[axis] for axis in ("xaxis", "yaxis", "xaxis2", "yaxis2"))


def test_a_panel_without_data_is_left_out():
    (bars,), layout = figure_of(good=3, bad=1)
    assert bars["orientation"] == "h" and layout["yaxis"]["domain"] == [0, 1] and "yaxis2" not in layout
    (histogram,), layout = figure_of([3, 4])
    assert (histogram["xaxis"], layout["yaxis"]["domain"]) == ("x", [0, 1])
    assert layout["xaxis"]["title"]["text"] == "tokens in a text; 10 are read"
    assert figure_of()[0] == []


def test_many_labels_end_in_one_bar_and_long_or_odd_ones_are_safe():
    labels = {f"label {i}": 20 - i for i in range(12)}
    (bars,), layout = figure_of(**labels)
    assert len(bars["x"]) == MAX_BARS and sum(bars["x"]) == sum(labels.values())
    assert layout["yaxis"]["ticktext"][-1] == "5 others"
    (bars,), layout = figure_of(**{"<a href='x'>click</a>": 1, "y" * 500: 1})
    assert layout["yaxis"]["ticktext"] == ["&lt;a href='x'&gt;c…", "yyyyyyyyyyyyy…"]
    assert "<a" not in bars["customdata"][0] and len(bars["customdata"][1]) <= 300


@given(
    lengths=st.lists(st.one_of(st.integers(1, 40), st.integers(1, 5000)), min_size=1, max_size=80),
    max_length=st.integers(1, 600),
)
def test_every_text_stands_in_one_bin_and_no_bin_is_half_cut(lengths: list[int], max_length: int):
    (histogram,), _ = figure_of(lengths, max_length)
    width = histogram["width"][0] / 0.9
    starts = [round(x - (width - 1) / 2) for x in histogram["x"]]
    assert sum(histogram["y"]) == len(lengths) and len(starts) <= MAX_BINS + 1
    high = sorted(lengths)[int(np.ceil(0.99 * len(lengths))) - 1]
    bins = Counter(max(i for i, start in enumerate(starts) if start <= min(length, high)) for length in lengths)
    assert histogram["y"] == [bins[i] for i in range(len(starts))]
    for start, color in zip(starts, histogram["marker"]["color"], strict=True):
        assert not start <= max_length < start + round(width) - 1, "an edge lies behind what is read"
        assert (color == histogram["marker"]["color"][0]) or start > max_length
