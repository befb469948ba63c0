"""Embeddings by token counts: what is counted, that the merge is RegMean of one-hot inputs, and who shares what."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from architectures import ARCHITECTURES
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_models import random_tokens, tiny_bert, tiny_gpt2, write_data, write_experts, write_model
from torch import nn

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.cli import main
from fusion_ui.domains.batches import EncodedText, make_batches
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import ParameterError, StatisticError
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.methods.regmean import RegMean
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.statistics.bundle import read_statistic, write_statistic
from fusion_ui.statistics.measure import measure
from fusion_ui.statistics.sharing import check_belongs, explain_revealing
from fusion_ui.statistics.statistic import Statistic, StatisticKind, StatisticSettings
from fusion_ui.statistics.token_counts import count_tokens
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.workspace import Workspace

WORDS = "bert.embeddings.word_embeddings.weight"
COUNTED = StatisticSettings(num_examples=8, token_counts=True)


@pytest.mark.parametrize(
    ("make", "name"),
    [(tiny_bert, WORDS), (tiny_gpt2, "transformer.wte.weight"), (ARCHITECTURES["T5"], "transformer.shared.weight")],
    ids=["bert", "gpt2", "t5"],
)
def test_every_real_token_is_counted_once(make: Callable[[int], nn.Module], name: str):
    tokens = random_tokens(9, seed=1)
    expected = Counter(token for ids in tokens for token in ids)
    for max_tokens in (1, 40, 10**6):
        batches = list(make_batches([EncodedText(ids) for ids in tokens], range(len(tokens)), 0, max_tokens))
        (found,) = count_tokens(make(0), batches, False).items()
        assert found[0] == name and found[1].tolist() == [expected[v] for v in range(50)]
    padded = count_tokens(make(0), batches, True)[name]
    assert padded[0] == batches[0].input_ids.numel() - sum(map(len, tokens))
    assert padded[1:].tolist() == [expected[v] for v in range(1, 50)]


def one_hot(ids: list[int], num_rows: int) -> oracles.Array:
    return np.eye(num_rows)[ids]


@given(
    ids=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=30), min_size=1, max_size=4),
    alpha=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_is_regmean_of_one_hot_inputs(ids: list[list[int]], alpha: float, seed: int):
    generator = np.random.default_rng(seed)
    tables = [generator.standard_normal((8, 3)) for _ in ids]  # row 7 is never used
    coefficients = generator.uniform(0.2, 1.0, len(ids))
    coefficients /= coefficients.sum()
    frequencies = torch.tensor(np.stack([one_hot(one, 8).mean(0) for one in ids]))
    slot = ParameterSlot(
        WORDS, torch.tensor(np.stack(tables)), tuple(coefficients.tolist()), token_frequencies=frequencies
    )
    method = RegMean(alpha=alpha, embeddings=True)
    merged, treatment = method.merge_parameter(slot)
    seen = sorted({token for one in ids for token in one})
    expected = oracles.regmean_by_least_squares(
        [one_hot(one, 8)[:, seen] for one in ids], [table[seen] for table in tables], coefficients.tolist(), alpha
    )
    np.testing.assert_allclose(merged[seen].numpy(), expected, rtol=0, atol=1e-12)
    unseen = sorted(set(range(8)) - set(seen))
    assert torch.equal(merged[unseen], slot.mean[unseen]) and treatment.num_dead == len(unseen)
    assert torch.equal(RegMean.prepare_parameter(slot)(method)[0], merged)
    # Without the option a counted table keeps the mean, directly and prepared.
    for plain in (RegMean(alpha).merge_parameter(slot), RegMean.prepare_parameter(slot)(RegMean(alpha))):
        assert torch.equal(plain[0], slot.mean) and plain[1].path == "mean"


def test_an_expert_of_weight_0_has_no_part_even_where_it_alone_knows_a_token():
    tables = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    frequencies = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    slot = ParameterSlot(WORDS, tables, (1.0, 0.0), token_frequencies=frequencies)
    merged, treatment = RegMean(embeddings=True).merge_parameter(slot)
    assert torch.equal(merged, tables[0]) and treatment.num_dead == 1


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_experts(tmp_path_factory.mktemp("experts"), 2)


def make_recipe(models: list[Path], folder: Path, embeddings: bool, **calibration: Path) -> MergeRecipe:
    """Two experts with text of their own, or a file in place of the data of the expert of that name."""
    experts = []
    for i, model in enumerate(models):
        source = {"data": str(write_data(folder / f"{model.name}.csv", seed=i))}
        if model.name in calibration:
            source = {"statistics": str(calibration[model.name])}
        experts.append({"name": model.name, "model": str(model), "calibration": source})
    values = {"method": "regmean", "parameters": {"embeddings": embeddings}, "statistics": {"num_examples": 8}}
    return parse_recipe(values | {"experts": experts})


def measure_on(
    model: Path, folder: Path, seed: int, how: StatisticSettings, settings, num_texts: int = 12
) -> Statistic:
    data = write_data(folder / f"{model.name}.csv", num_texts, seed)
    domain = load_domain(data, model.name, label_column=None)
    return measure(Checkpoint(model.name, model, str(model)), domain, StatisticKind.GRAM, how, settings)


def test_a_merge_with_the_option_changes_the_word_embedding_alone(models, settings, tmp_path: Path):
    workspace = Workspace(settings)
    plain, counted = (workspace.plan(make_recipe(models, tmp_path, embeddings)) for embeddings in (False, True))
    assert not workspace.is_measured(counted)
    without = dict(workspace.merge(plain).tensors)
    assert not workspace.is_measured(counted)  # plain statistics hold no counts
    merged = workspace.merge(counted)
    for name, tensor in merged.tensors.items():
        assert torch.equal(tensor, without[name]) == (name != WORDS), name
    assert merged.treatments[WORDS].path == "counts"

    shares = []
    for expert, source in zip(counted.experts, counted.calibration, strict=True):
        chosen = measure(expert, source, StatisticKind.GRAM, counted.statistic_settings, settings)
        shares.append(chosen.token_counts[WORDS].double() / chosen.num_tokens)
        assert chosen.token_counts[WORDS].sum() == chosen.num_tokens
    tables = [load_file(model / "model.safetensors")[WORDS].double() for model in models]
    for v in range(50):
        total = float(shares[0][v] + shares[1][v])
        expected = (
            sum(s[v] / total * t[v] for s, t in zip(shares, tables, strict=True)) if total else sum(tables)[v] / 2
        )
        torch.testing.assert_close(merged.tensors[WORDS][v].double(), expected, rtol=1e-5, atol=1e-6)

    workspace.prepare(counted)
    fresh = Workspace(settings)
    fresh.prepare(counted)
    torch.testing.assert_close(fresh.merge(counted).tensors[WORDS], merged.tensors[WORDS], rtol=1e-6, atol=1e-7)


def test_a_file_holds_counts_only_when_asked_and_says_so(models, settings, tmp_path: Path):
    plain = measure_on(models[0], tmp_path, 0, replace(COUNTED, token_counts=False), settings)
    counted = measure_on(models[0], tmp_path, 0, COUNTED, settings)
    assert plain.token_counts == {} and "which tokens occur" not in explain_revealing(plain)
    assert "which tokens occur in the text, and how often" in explain_revealing(counted)
    assert all(torch.equal(counted.tensors[key], gram) for key, gram in plain.tensors.items())
    for statistic, version in ((plain, 1), (counted, 2)):
        path = tmp_path / f"{version}.safetensors"
        write_statistic(path, statistic)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        assert metadata["format"] == f"fusion-ui statistic {version}"
        # A plain file is word for word what the first version wrote.
        assert ("token_counts" in json.loads(metadata["settings"])) == (version == 2)
        found = read_statistic(path)
        assert found.settings == statistic.settings and found.tensors.keys() == statistic.tensors.keys()
        assert found.token_counts.keys() == statistic.token_counts.keys()
        assert all(torch.equal(c, statistic.token_counts[n].float()) for n, c in found.token_counts.items())


def test_a_file_without_counts_is_refused_where_they_are_asked_for(models, settings, tmp_path: Path):
    plain = measure_on(models[0], tmp_path, 0, replace(COUNTED, token_counts=False), settings)
    counted = measure_on(models[0], tmp_path, 0, COUNTED, settings)
    without, with_counts = tmp_path / "without.safetensors", tmp_path / "with.safetensors"
    write_statistic(without, plain)
    write_statistic(with_counts, counted)
    workspace = Workspace(settings)
    with pytest.raises(StatisticError, match=r"file of expert0 holds no token counts.*--token-counts"):
        workspace.plan(make_recipe(models, tmp_path, True, expert0=without))
    plan = workspace.plan(make_recipe(models, tmp_path, False, expert0=without))
    with pytest.raises(StatisticError, match="holds no token counts"):
        plan.with_parameters(embeddings=True)
    # The other expert's data is measured with counts beside the file.
    from_file = workspace.merge(workspace.plan(make_recipe(models, tmp_path, True, expert0=with_counts)))
    from_data = workspace.merge(workspace.plan(make_recipe(models, tmp_path, True)))
    assert torch.equal(from_file.tensors[WORDS], from_data.tensors[WORDS])
    # Counts that nobody asked for are not used.
    unasked = workspace.merge(workspace.plan(make_recipe(models, tmp_path, False, expert0=with_counts)))
    assert unasked.treatments[WORDS].path == "mean"


@pytest.mark.parametrize("wrong", [torch.ones(49), -torch.ones(50), torch.full((50,), torch.nan), torch.zeros(50)])
def test_counts_that_cannot_be_counts_are_refused(models, settings, tmp_path: Path, wrong: torch.Tensor):
    counted = measure_on(models[0], tmp_path, 0, COUNTED, settings)
    expert = Checkpoint("expert0", models[0], "test")
    check_belongs(expert, counted)
    with pytest.raises(StatisticError, match=r"hold no proper token counts for bert\.embeddings.*which has 50 rows"):
        check_belongs(expert, replace(counted, token_counts={WORDS: wrong}))


def test_identical_tables_stay_as_they_are(settings, tmp_path: Path):
    # Embeddings are often frozen in fine-tuning: then nothing is weighted, and nothing is copied.
    frozen = tiny_bert(0).state_dict()[WORDS]
    models = [write_model(tmp_path / f"e{i}", tiny_bert(i), {WORDS: frozen}) for i in range(2)]
    workspace = Workspace(settings)
    merged = workspace.merge(workspace.plan(make_recipe(models, tmp_path, True)))
    assert torch.equal(merged.tensors[WORDS], frozen) and merged.treatments[WORDS].path == "counts"


def test_the_command_line_writes_counts_when_asked(models, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("FUSION_UI_CACHE_DIR", str(tmp_path / "cache"))
    data, out = write_data(tmp_path / "data.csv"), tmp_path / "out.safetensors"
    command = ["stats", "--model", str(models[0]), "--data", str(data), "--token-counts"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--out", str(out)])
    assert not ended.value.code and "which tokens occur in the text" in capsys.readouterr().out
    statistic = read_statistic(out)
    assert statistic.token_counts[WORDS].sum() == statistic.num_tokens
    tokens = Tokenizer(Checkpoint("e", models[0], "test"), 128).encode(load_domain(data, "d").texts)
    assert statistic.token_counts[WORDS][2] == len(tokens)  # [CLS] once a text
    with pytest.raises((SystemExit, ParameterError)):
        main([*command, "--kind", "fisher", "--out", str(tmp_path / "fisher.safetensors")])
    assert not (tmp_path / "fisher.safetensors").exists()
