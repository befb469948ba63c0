"""Pairs of sentences reach the model as transformers' own tokenizer gives them, in everything that is computed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from architectures import ARCHITECTURES, ENCODER, classifier
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import LABELS, random_texts, tiny_bert, write_model
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.batches import EncodedText, make_batches
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import DomainError
from fusion_ui.evaluation.candidates import Candidate, checkpoint_candidate
from fusion_ui.evaluation.combined import Ensemble
from fusion_ui.merging.recipe import parse_recipe, read_recipe
from fusion_ui.progress import Progress
from fusion_ui.settings import Settings
from fusion_ui.statistics.measure import measure
from fusion_ui.statistics.statistic import StatisticKind, StatisticSettings
from fusion_ui.tasks.inputs import model_inputs
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.workspace import Workspace


def pair_domain(num_pairs: int = 12, seed: int = 0) -> Domain:
    """Pairs of which some are longer than the 32 tokens that a tiny model reads."""
    firsts, seconds = random_texts(num_pairs, seed), list(random_texts(num_pairs, seed + 100))
    seconds[0], seconds[1] = " ".join(["w1", "w2"] * 20), "w3"
    labels = random.Random(seed).choices(LABELS, k=num_pairs)
    return Domain("pairs", "Pairs", "report", firsts, tuple(labels), tuple(seconds))


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings)


@pytest.fixture(scope="module")
def berts(tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    folder = tmp_path_factory.mktemp("berts")
    return [Checkpoint(f"e{i}", write_model(folder / f"e{i}", tiny_bert(i)), "test") for i in range(2)]


def by_transformers(directory: Path, texts: Sequence[str], pairs: Sequence[str]) -> dict[tuple[str, str], Tensor]:
    """Pair -> logits, as the documentation of transformers says to compute them, one pair at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    found = {}
    for text, pair in zip(texts, pairs, strict=True):
        inputs = tokenizer(text, pair, truncation=True, max_length=32, return_tensors="pt")
        with torch.no_grad():
            found[text, pair] = model(**inputs).logits[0]
    return found


def logits_of(candidate: Candidate, workspace: Workspace, domain: Domain, model: Checkpoint) -> dict[str, Tensor]:
    """Text -> logits, put back from evaluation order by the tokens."""
    evaluation = workspace.evaluation([domain], model)
    *_, last = candidate.stream(evaluation, Progress())
    encoded = dict(zip(domain.texts, evaluation.tokenizer.encode(domain.texts, domain.pairs), strict=True))
    rows = dict(zip(evaluation.domains[0].texts, last[domain.name], strict=True))
    return {text: rows[tokens] for text, tokens in encoded.items()}


def test_logits_are_those_of_transformers(workspace, berts):
    domain = pair_domain()
    expected = by_transformers(berts[0].directory, domain.texts, domain.pairs)
    found = logits_of(checkpoint_candidate("m", "M", berts[0]), workspace, domain, berts[0])
    assert len(found) == len(domain.texts)
    for text, pair in zip(domain.texts, domain.pairs, strict=True):
        torch.testing.assert_close(found[text], expected[text, pair], rtol=1e-4, atol=1e-5)
    alone = logits_of(checkpoint_candidate("m", "M", berts[0]), workspace, replace(domain, pairs=()), berts[0])
    assert all((alone[text] - found[text]).abs().max() > 1e-3 for text in domain.texts), "the pair was not read"


def test_the_ensemble_reads_pairs_too(workspace, berts):
    domain = pair_domain()
    members = tuple(checkpoint_candidate(c.name, c.name, c) for c in berts)
    found = logits_of(Ensemble("e", "E", "e", "#000000", True, members), workspace, domain, berts[0])
    single = [by_transformers(c.directory, domain.texts, domain.pairs) for c in berts]
    for both in zip(domain.texts, domain.pairs, strict=True):
        torch.testing.assert_close(found[both[0]], (single[0][both] + single[1][both]) / 2, rtol=1e-4, atol=1e-5)


def grams_by_hooks(directory: Path, domain: Domain) -> dict[str, tuple[np.ndarray, int]]:
    """Weight name -> (sum of x x^T over real tokens, rows), in float64, from one padded batch of transformers' own."""
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    inputs = tokenizer(
        list(domain.texts), list(domain.pairs), padding=True, truncation=True, max_length=32, return_tensors="pt"
    )
    mask, found = inputs["attention_mask"].bool(), {}

    def note(name: str) -> Callable:
        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].double()
            rows = (x[mask] if x.ndim == 3 else x).numpy()
            found[f"{name}.weight"] = (np.einsum("ri,rj->ij", rows, rows), len(rows))

        return hook

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(note(name))
    with torch.no_grad():
        model(**inputs)
    return found


def test_gram_matrices_are_those_of_a_masked_hook(settings, berts):
    domain, expected = pair_domain(), grams_by_hooks(berts[0].directory, pair_domain())
    statistic = measure(berts[0], domain, StatisticKind.GRAM, StatisticSettings(100), settings)
    assert set(statistic.inputs) == set(expected)
    for name, (gram, num_rows) in expected.items():
        entry, found = statistic.inputs[name], statistic.tensors[statistic.inputs[name].tensor].numpy()
        norms = np.sqrt(np.diag(gram))
        assert entry.num_rows == num_rows, name
        assert np.abs((found - gram) / np.outer(norms, norms)).max() < 1e-5, name


def test_fisher_information_is_that_of_pairs(settings, berts):
    domain = pair_domain(4)
    statistic = measure(berts[0], domain, StatisticKind.FISHER, StatisticSettings(100), settings)
    model = AutoModelForSequenceClassification.from_pretrained(berts[0].directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(berts[0].directory)
    weight, expected = model.bert.embeddings.token_type_embeddings.weight, 0.0
    for text, pair in zip(domain.texts, domain.pairs, strict=True):
        inputs = tokenizer(text, pair, truncation=True, max_length=32, return_tensors="pt")
        logs = model(**inputs).logits[0].log_softmax(-1)
        for log in logs:
            (gradient,) = torch.autograd.grad(log, weight, retain_graph=True)
            expected = expected + log.exp().item() * gradient.double() ** 2 / len(domain.texts)
    found = statistic.tensors["bert.embeddings.token_type_embeddings.weight"]
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-3, atol=1e-8)
    assert found[1].any(), "the second text's own embedding was never used"


# RoBERTa as it is published has one token type, and no place for a second.
OTHERS = {name: ARCHITECTURES[name] for name in ("DistilBERT", "DeBERTa-v2", "OPT", "T5")}
OTHERS["one type"] = classifier("Roberta", **ENCODER, type_vocab_size=1)


@pytest.mark.parametrize("architecture", OTHERS)
def test_models_that_are_not_told_which_text_is_which_read_pairs(workspace, tmp_path: Path, architecture: str):
    # The tokenizer of these tests gives token types to all of them.
    model = Checkpoint("m", write_model(tmp_path / "m", OTHERS[architecture](0)), "test")
    domain = replace(pair_domain(5), pairs=random_texts(5, 7))  # RoBERTa's own tokenizer alone knows its limit
    found = logits_of(checkpoint_candidate("m", "M", model), workspace, domain, model)
    assert all(torch.isfinite(row).all() for row in found.values())
    alone = logits_of(checkpoint_candidate("m", "M", model), workspace, replace(domain, pairs=()), model)
    assert any((alone[text] - found[text]).abs().max() > 1e-4 for text in domain.texts)


class WithoutTypes(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return input_ids


def test_types_are_not_given_to_a_model_that_takes_none():
    (batch,) = make_batches([EncodedText((4, 5), (0, 1))], [0], 0, 10)
    assert set(model_inputs(WithoutTypes(), batch)) == {"input_ids", "attention_mask"}
    assert model_inputs(tiny_bert(), batch)["token_type_ids"].tolist() == [[0, 1]]


def test_domains_with_and_without_pairs_stand_side_by_side(workspace, berts):
    domain, plain = pair_domain(), replace(pair_domain(), name="plain", pairs=())
    together = workspace.evaluation([domain, plain], berts[0])
    *_, both = checkpoint_candidate("m", "M", berts[0]).stream(together, Progress())
    fresh = Workspace(workspace.settings.model_copy(update={"cache_dir": workspace.settings.cache_dir / "other"}))
    for one in (domain, plain):
        *_, alone = checkpoint_candidate("m", "M", berts[0]).stream(fresh.evaluation([one], berts[0]), Progress())
        torch.testing.assert_close(both[one.name], alone[one.name], rtol=1e-4, atol=1e-5)


def test_of_two_texts_that_are_too_long_together_the_longer_is_cut(berts):
    (encoded,) = Tokenizer(berts[0], 10).encode(["w1 w2"], ["w3 " * 30])
    assert encoded == EncodedText((2, 5, 6, 3, 7, 7, 7, 7, 7, 3), (0,) * 4 + (1,) * 6)
    assert Tokenizer(berts[0], 10).encode(["w1 w2"]) == [EncodedText((2, 5, 6, 3))]


Pairs = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20)), min_size=1, max_size=30)


@given(lengths=Pairs, max_tokens=st.integers(1, 120))
def test_batches_count_both_texts_and_keep_types_apart(lengths: list[tuple[int, int]], max_tokens: int):
    texts = [EncodedText((4,) * a + (5,) * b, (0,) * a + (1,) * b if b else ()) for a, b in lengths]
    batches = list(make_batches(texts, range(len(texts)), 0, max_tokens))
    assert sorted(i for batch in batches for i in batch.indices) == list(range(len(texts)))
    for batch in batches:
        assert batch.input_ids.numel() <= max_tokens or len(batch.indices) == 1
        assert batch.input_ids.shape[1] == max(len(texts[i]) for i in batch.indices)
        assert {bool(texts[i].types) for i in batch.indices} == {batch.token_type_ids is not None}
        for row, i in enumerate(batch.indices):
            assert batch.attention_mask[row].sum() == len(texts[i])
            if batch.token_type_ids is not None:
                padded = [*texts[i].types, *[0] * (batch.input_ids.shape[1] - len(texts[i]))]
                assert batch.token_type_ids[row].tolist() == padded


def write_pairs(path: Path, domain: Domain) -> Path:
    columns = {"premise": domain.texts, "hypothesis": domain.pairs, "label": domain.labels}
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_a_recipe_measures_pairs_and_repeats_itself(workspace, berts, tmp_path: Path):
    data = write_pairs(tmp_path / "pairs.csv", pair_domain())

    def plan(**columns: str):
        calibration = {"data": str(data), "text_column": "premise", **columns}
        experts = [{"name": c.name, "model": str(c.directory), "calibration": calibration} for c in berts]
        return workspace.plan(parse_recipe({"method": "regmean", "experts": experts}))

    with_pairs, without = plan(pair_column="hypothesis"), plan()
    assert with_pairs.calibration[0].pairs == pair_domain().pairs and with_pairs.family_key != without.family_key
    merged = workspace.merge(with_pairs)
    gram = grams_by_hooks(berts[0].directory, pair_domain())["bert.pooler.dense.weight"][0]
    measured = measure(berts[0], with_pairs.calibration[0], StatisticKind.GRAM, StatisticSettings(), workspace.settings)
    np.testing.assert_allclose(measured.tensors["bert.pooler.dense.weight"].numpy(), gram, rtol=1e-3, atol=1e-3)
    workspace.export(with_pairs, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert written["experts"][0]["calibration"]["pair_column"] == "hypothesis"
    again = workspace.merge(workspace.plan(read_recipe(tmp_path / "out" / "recipe.json")))
    assert all(torch.equal(merged.tensors[name], again.tensors[name]) for name in merged.tensors)
    assert any(not torch.equal(merged.tensors[n], t) for n, t in workspace.merge(without).tensors.items())


def test_a_pair_column_that_is_not_there_is_refused(workspace, berts, tmp_path: Path):
    data = write_pairs(tmp_path / "pairs.csv", pair_domain())
    calibration = {"data": str(data), "text_column": "premise", "pair_column": "second"}
    experts = [{"name": "e", "model": str(berts[0].directory), "calibration": calibration}]
    with pytest.raises(DomainError, match=r"has no column 'second'\. Its columns are: premise, hypothesis, label"):
        workspace.plan(parse_recipe({"method": "regmean", "experts": experts}))
