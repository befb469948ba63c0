"""What evaluation is made of: labels matched by name, batches, chunks, and a score with its interval."""

from __future__ import annotations

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_evaluation import encoded_as
from tiny_models import LABELS

from fusion_ui.domains.batches import EncodedText, make_batches
from fusion_ui.domains.labels import encode_labels
from fusion_ui.errors import DomainError
from fusion_ui.evaluation.scores import Role, score_rows
from fusion_ui.evaluation.stream import chunk_ends
from fusion_ui.tasks.metrics import wilson_interval


def test_a_score_counts_what_is_right():
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, 0.0]])
    score = score_rows(encoded_as((0, 1, 1, 0)), logits, Role.IN_DOMAIN)
    assert (score.num_correct, score.num_examples, score.num_total) == (2, 3, 4)
    assert score.value == pytest.approx(2 / 3)
    assert (score.low, score.high) == pytest.approx(oracles.wilson_interval(2, 3))


@given(num_examples=st.integers(1, 3000), share=st.floats(0, 1))
def test_the_interval_is_wilsons(num_examples: int, share: float):
    num_correct = round(share * num_examples)
    low, high = wilson_interval(num_correct, num_examples)
    assert (low, high) == pytest.approx(oracles.wilson_interval(num_correct, num_examples), abs=1e-9)
    assert 0 <= low <= num_correct / num_examples <= high <= 1


def test_nothing_counted_yet_could_be_anything():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(num_examples=st.integers(1, 2000))
def test_chunks_grow_to_the_end(num_examples: int):
    ends = chunk_ends(num_examples)
    assert ends == sorted(set(ends)) and ends[-1] == num_examples and ends[0] <= 12


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40), max_tokens=st.integers(1, 200))
def test_batches_hold_every_text_once_within_the_limit(lengths: list[int], max_tokens: int):
    tokens = [tuple(range(4, 4 + length)) for length in lengths]
    batches = list(make_batches([EncodedText(ids) for ids in tokens], range(len(tokens)), 0, max_tokens))
    assert sorted(i for batch in batches for i in batch.indices) == list(range(len(tokens)))
    for batch in batches:
        assert batch.input_ids.numel() <= max_tokens or len(batch.indices) == 1
        for row, i in enumerate(batch.indices):
            assert tuple(batch.input_ids[row, : lengths[i]].tolist()) == tokens[i]
            assert batch.attention_mask[row].tolist() == [1] * lengths[i] + [0] * (
                batch.input_ids.shape[1] - lengths[i]
            )


def test_labels_are_matched_by_name_without_case():
    assert encode_labels("news", ["POSITIVE", "negative", "Positive"], LABELS) == (1, 0, 1)
    assert encode_labels("news", ["positive"], ("positive", "negative")) == (0,)  # by name, not by position
    assert encode_labels("news", [], LABELS) == ()


def test_numbers_stand_for_positions_unless_labels_are_called_so():
    assert encode_labels("news", ["1", "0", "1"], LABELS) == (1, 0, 1)
    assert encode_labels("news", ["1", "0"], ("1", "0")) == (0, 1)


@pytest.mark.parametrize("labels", [["neutral", "positive"], ["2", "0"], ["-1"], ["positive", "1"], [""], ["0.5"]])
def test_unknown_labels_are_refused_with_what_is_known(labels: list[str]):
    with pytest.raises(DomainError, match=r"domain news has the label .* It knows: negative, positive"):
        encode_labels("news", labels, LABELS)
