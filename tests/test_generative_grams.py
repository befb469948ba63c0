"""Gram and Fisher statistics of models that write text, against a hook of their own that knows the masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from generative_models import masked_grams, pad, tiny_bart, tiny_gpt2_writer, tiny_llama, tiny_t5
from tiny_models import random_tokens

from fusion_ui.domains.batches import Batch, EncodedText, make_batches, pad_batch
from fusion_ui.progress import Progress
from fusion_ui.statistics.fisher import accumulate_fisher
from fusion_ui.statistics.gram import accumulate_grams, linear_modules
from fusion_ui.statistics.token_counts import count_tokens
from fusion_ui.tasks import find_task

SEQ2SEQ = {
    "T5": lambda: tiny_t5(1),
    "T5 v1.1, gated": lambda: tiny_t5(1, is_gated=True),
    "BART": lambda: tiny_bart(1),
}
CAUSAL = {
    "GPT-2": lambda: tiny_gpt2_writer(1),
    "Llama": lambda: tiny_llama(1),
    "Llama, tied": lambda: tiny_llama(1, is_tied=True),
}
CROSS = [("EncDecAttention", "k"), ("EncDecAttention", "v"), ("encoder_attn", "k_proj"), ("encoder_attn", "v_proj")]
START = {"T5": 0, "T5 v1.1, gated": 0, "BART": 3}


def relative(found: torch.Tensor, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found.numpy() - expected) / np.linalg.norm(expected))


def texts(num: int, is_equally_long: bool) -> list[EncodedText]:
    """Texts with answers; where all have one length, encoder and decoder inputs differ by their masks alone."""
    read, written = random_tokens(num, 3), [ids[1:10] for ids in random_tokens(num, 4)]
    found = [EncodedText(ids, answer=answer) for ids, answer in zip(read, written, strict=True)]
    if not is_equally_long:
        return found
    longest = (2, *range(5, 15), 3)
    # The longest text has a short answer and the longest answer a short text, so the padded widths are equal.
    assert max(len(text) for text in found) <= len(longest)
    return [*found, EncodedText(longest, answer=(7, 3)), EncodedText((2, 9, 3), answer=longest)]


@pytest.mark.parametrize("is_equally_long", [False, True])
@pytest.mark.parametrize("name", SEQ2SEQ)
def test_the_encoder_and_the_decoder_are_each_counted_by_their_own_mask(name: str, is_equally_long: bool):
    model, examples = SEQ2SEQ[name](), texts(7, is_equally_long)
    batch = pad_batch(examples, range(len(examples)), 0)
    grams, inputs = accumulate_grams(model, [batch], False, Progress())
    ids, mask = pad([t.ids for t in examples])
    shifted, written = pad([(START[name], *t.answer[:-1]) for t in examples])

    def rows_of(module: str) -> torch.Tensor:
        is_cross = any(module.endswith(f"{cross}.{part}") for cross, part in CROSS)
        is_outside = "decoder" in module or module == "lm_head"
        return written if is_outside and not is_cross else mask

    given = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": shifted, "decoder_attention_mask": written}
    if is_equally_long:
        assert mask.shape == written.shape and not torch.equal(mask, written)
    expected = masked_grams(model, given, rows_of)
    assert set(inputs) == set(linear_modules(model)) <= set(expected)
    assert ("lm_head.weight" in inputs) == (name == "T5 v1.1, gated")
    for weight, place in inputs.items():
        gram, num_rows = expected[weight]
        assert (place.num_rows, place.reason) == (num_rows, ""), weight
        assert relative(grams[place.tensor], gram) < 1e-6, weight


@pytest.mark.parametrize("is_left", [False, True])
@pytest.mark.parametrize("name", CAUSAL)
def test_padding_on_either_side_of_a_causal_model_is_not_counted(name: str, is_left: bool):
    model, tokens = CAUSAL[name](), random_tokens(7, 5)
    ids, mask = pad(tokens, is_left)
    grams, inputs = accumulate_grams(model, [Batch(tuple(range(7)), ids, mask)], False, Progress())
    expected = {}
    for row in tokens:  # one by one: no padding at all, and the positions of a text by itself
        alone, whole = pad([row])
        for weight, (gram, count) in masked_grams(model, {"input_ids": alone}, lambda _, whole=whole: whole).items():
            before = expected.get(weight, (0.0, 0))
            expected[weight] = (before[0] + gram, before[1] + count)
    assert ("lm_head.weight" in inputs) == (name == "Llama")
    for weight, place in inputs.items():
        gram, num_rows = expected[weight]
        assert place.num_rows == num_rows == sum(map(len, tokens)), weight
        assert relative(grams[place.tensor], gram) < 1e-6, weight


def test_the_positions_of_left_padded_text_matter():
    model, tokens = tiny_gpt2_writer(1), random_tokens(7, 5)
    ids, mask = pad(tokens, is_left=True)
    first = "transformer.h.0.attn.c_attn.weight"
    grams, _ = accumulate_grams(model, [Batch(tuple(range(7)), ids, mask)], False, Progress())
    without = masked_grams(model, {"input_ids": ids, "attention_mask": mask}, lambda _: mask)[first][0]
    assert relative(grams[first], without) > 1e-3  # transformers itself counts positions from the padding on


@pytest.mark.parametrize("name", ["T5", "Llama"])
def test_fisher_information_is_that_of_the_given_text(name: str):
    model = (SEQ2SEQ | CAUSAL)[name]()
    examples = texts(3, False) if name == "T5" else [EncodedText(ids) for ids in random_tokens(3, 5)]
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    found = accumulate_fisher(find_task(config), model, examples, Progress())
    expected = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    for text in examples:
        model.zero_grad()
        model.requires_grad_(True)
        labels = torch.tensor([text.answer or text.ids])
        given = {"input_ids": torch.tensor([text.ids]), "labels": labels}
        loss = model(**given).loss  # a mean over predicted tokens
        (loss * (labels.shape[1] - (not text.answer))).backward()
        for n, p in model.named_parameters():
            expected[n] += p.grad.square() / len(examples)
    for n, value in expected.items():
        torch.testing.assert_close(found[n], value, rtol=2e-4, atol=1e-9)


def test_token_counts_are_those_of_both_texts_where_both_share_a_table():
    model, examples = tiny_t5(1), texts(5, False)
    counts = count_tokens(model, list(make_batches(examples, range(5), 0, 40)), False)["shared.weight"]
    expected = np.zeros(50)
    for text in examples:
        np.add.at(expected, [*text.ids, 0, *text.answer[:-1]], 1)
    assert counts.tolist() == expected.tolist()
