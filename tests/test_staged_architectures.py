"""RegMean++ on every architecture that has layers: the same as merging one after the other by hand."""

from __future__ import annotations

from pathlib import Path

import oracles
import pytest
from architectures import ARCHITECTURES
from staged_merges import BLOCKS, by_hand, make_recipe, stage_of, write_all
from test_architectures import NUM_TEXTS
from tiny_models import random_texts, random_tokens
from torch import Tensor, nn

from fusion_ui.domains.batches import EncodedText, make_batches
from fusion_ui.errors import MergeError
from fusion_ui.settings import Settings
from fusion_ui.statistics.stages import find_stages
from fusion_ui.tasks import load_model
from fusion_ui.tasks.tokenizer import Tokenizer
from fusion_ui.workspace import Workspace


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name in BLOCKS])
def test_an_architecture_is_merged_as_by_hand(architecture: str, settings: Settings, tmp_path: Path, record_property):
    directories, data = write_all(tmp_path, [ARCHITECTURES[architecture](i) for i in range(2)])
    workspace = Workspace(settings)
    plan = workspace.plan(make_recipe(directories, data))
    merged = workspace.merge(plan)
    texts = [[t.ids for t in Tokenizer(e, 128).encode(random_texts(NUM_TEXTS, i))] for i, e in enumerate(plan.experts)]
    models = [load_model(expert).double() for expert in plan.experts]
    expected = by_hand(architecture, models, texts)
    worst, linear = 0.0, oracles.grams_by_loop(models[0], texts[0][:1])
    for name, tensor in merged.tensors.items():
        if name not in expected:
            continue  # a whole number
        mean = (models[0].state_dict()[name] + models[1].state_dict()[name]) / 2
        size = max((expected[name] - mean).norm().item(), 1e-3 * mean.norm().item())
        worst = max(worst, (tensor.double() - expected[name]).norm().item() / size)
        assert merged.treatments[name].path == ("cholesky" if name in linear else "mean"), name
    record_property("oracle_error", float(worst))
    print(f"{architecture:<24} oracle error {worst:.1e}")
    assert expected.keys() <= merged.tensors.keys() and worst < 2e-4

    plain = workspace.merge(workspace.plan(plan.recipe.model_copy(update={"method": "regmean"}))).tensors
    last = [name for name in linear if stage_of(architecture, name) == 2]
    assert all((merged.tensors[n] - plain[n]).norm() > 10 * worst * plain[n].norm() for n in last)


def test_layers_that_are_shared_or_missing_are_refused(settings: Settings, tmp_path: Path):
    assert [name for name in ARCHITECTURES if name not in BLOCKS] == ["ALBERT (shared layers)"]
    directories, data = write_all(tmp_path, [ARCHITECTURES["ALBERT (shared layers)"](i) for i in range(2)])
    workspace = Workspace(settings)
    plan = workspace.plan(make_recipe(directories, data))
    message = r"AlbertForSequenceClassification cannot be merged layer by layer: it runs .* 2 times for one text"
    with pytest.raises(MergeError, match=message):
        workspace.merge(plan)
    with pytest.raises(MergeError, match=message):
        workspace.export(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()

    class OneMap(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.map = nn.Embedding(50, 4), nn.Linear(4, 2)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.map(self.embedding(input_ids))

    (batch,) = make_batches([EncodedText(ids) for ids in random_tokens(2)], range(2), 0, 10**6)
    with pytest.raises(MergeError, match="OneMap cannot be merged layer by layer: it has no list of layers"):
        find_stages(OneMap(), batch)
