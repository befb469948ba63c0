"""Models larger than memory: read tensor by tensor from one file or many, merged and written as a stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import LABELS, VOCABULARY, tiny_bert, write_experts, write_model
from torch import nn

from fusion_ui.checkpoints import tensors
from fusion_ui.checkpoints.tensors import TensorHeader, TensorReader, write_tensors
from fusion_ui.errors import CheckpointError, MergeError
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe
from fusion_ui.methods.simple_mean import SimpleMean
from fusion_ui.settings import Settings
from fusion_ui.solving.treatment import Treatment
from fusion_ui.workspace import Workspace


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace(settings)


def make_recipe(models: list[Path]) -> MergeRecipe:
    experts = [{"name": model.name, "model": str(model)} for model in models]
    return parse_recipe({"method": "simple_mean", "experts": experts})


def write_shards(directory: Path, model: nn.Module) -> Path:
    """The model in several files with an index."""
    write_model(directory, model)
    (directory / "model.safetensors").unlink()
    model.save_pretrained(directory, max_shard_size="8KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 1
    return directory


def tiny_bart(seed: int) -> nn.Module:
    """An encoder and a decoder whose embeddings are one tensor under three names."""
    from transformers import BartConfig, BartForSequenceClassification

    torch.manual_seed(seed)
    config = BartConfig(
        vocab_size=len(VOCABULARY),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=32,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        decoder_start_token_id=3,
        forced_eos_token_id=None,
    )
    return BartForSequenceClassification(config).eval()


def load_strictly(directory: Path) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    model, info = AutoModelForSequenceClassification.from_pretrained(directory, output_loading_info=True)
    assert not any(info.values()), "keys are missing, unexpected or mismatched"
    return model


def test_models_in_several_files_give_the_bytes_of_models_in_one(workspace, tmp_path):
    whole = write_experts(tmp_path / "whole", 3)
    shards = [write_shards(tmp_path / "shards" / model.name, tiny_bert(i)) for i, model in enumerate(whole)]
    for models, out in ((whole, "from whole"), (shards, "from shards"), ([shards[0], *whole[1:]], "from both")):
        workspace.export(workspace.plan(make_recipe(models)), tmp_path / out)
    files = [tmp_path / out / "model.safetensors" for out in ("from whole", "from shards", "from both")]
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()
    experts = [tiny_bert(i).state_dict() for i in range(3)]
    for name, tensor in load_strictly(tmp_path / "from shards").state_dict().items():
        torch.testing.assert_close(tensor, torch.stack([expert[name] for expert in experts]).mean(0))


@pytest.mark.parametrize("write", [write_model, write_shards])
def test_tied_tensors_are_merged_once_and_tied_again_when_loaded(workspace, tmp_path, write):
    models = [write(tmp_path / f"e{i}", tiny_bart(i)) for i in range(2)]
    names = TensorReader(models[0]).names
    assert [name for name in names if "embed_tokens" in name or "shared" in name] == ["model.shared.weight"]
    workspace.export(workspace.plan(make_recipe(models)), tmp_path / "out")
    merged = load_strictly(tmp_path / "out").model
    assert merged.encoder.embed_tokens.weight is merged.shared.weight is merged.decoder.embed_tokens.weight
    expected = torch.stack([tiny_bart(i).model.shared.weight for i in range(2)]).mean(0)
    torch.testing.assert_close(merged.shared.weight, expected)


def test_a_missing_file_or_a_broken_index_is_named(tmp_path):
    folder = write_shards(tmp_path / "e", tiny_bert())
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(CheckpointError, match=rf"{shard} cannot be read: .* Download or save it again"):
        TensorReader(folder).names  # noqa: B018
    for index in ("not JSON", "[]", '{"weight_map": {"a": 1}}', "{}"):
        (folder / "model.safetensors.index.json").write_text(index)
        with pytest.raises(CheckpointError, match="is not the index of a model in several files"):
            TensorReader(folder).files  # noqa: B018
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../secret"}}))
    assert TensorReader(folder).files == [folder / "secret"]


def test_a_type_that_cannot_be_merged_is_refused(tmp_path):
    save_file({"w": torch.zeros(2).to(torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="its tensor w has the type F8_E4M3"):
        TensorReader(tmp_path).names  # noqa: B018


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_a_written_file_is_the_one_that_safetensors_writes(tmp_path, dtype):
    content = {
        "b.ä": torch.arange(-3, 3).reshape(2, 3).to(dtype),
        "a": torch.tensor(1).to(dtype),
        "c": torch.ones(2, 3, 5).to(dtype).mT,
        "none": torch.zeros(0, 4).to(dtype),
    }
    save_file({name: tensor.contiguous() for name, tensor in content.items()}, tmp_path / "theirs", {"format": "pt"})
    headers = {name: TensorHeader(tensor.dtype, tuple(tensor.shape)) for name, tensor in content.items()}
    with write_tensors(tmp_path / "ours", headers) as write:
        for name, tensor in content.items():
            write(name, tensor)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_tensors_of_several_types_are_aligned_whatever_their_order(tmp_path):
    content = {
        "a": torch.tensor([True, False, True]),
        "b": torch.randn(3).half(),
        "c": torch.randn(3),
        "d": torch.arange(3),
        "e": torch.randn(3).double(),
        "f": torch.randn(5).bfloat16(),
    }
    headers = {name: TensorHeader(tensor.dtype, tuple(tensor.shape)) for name, tensor in content.items()}
    with write_tensors(tmp_path / "model.safetensors", headers) as write:
        for name in "fbdaec":
            write(name, content[name])
    for read in (load_file(tmp_path / "model.safetensors"), dict(TensorReader(tmp_path))):
        assert read.keys() == content.keys()
        assert all(read[name].dtype == t.dtype and torch.equal(read[name], t) for name, t in content.items())


def test_a_tensor_that_was_not_announced_or_never_came_is_noticed(tmp_path):
    headers = {"w": TensorHeader(torch.float32, (2,))}
    with pytest.raises(ValueError, match=r"w is torch\.float64"), write_tensors(tmp_path / "a", headers) as write:
        write("w", torch.zeros(2).double())
    with pytest.raises(ValueError, match="lacks w"), write_tensors(tmp_path / "b", headers):
        pass


def test_pages_that_were_read_are_given_back_and_tensors_in_use_stay_whole(tmp_path, monkeypatch):
    content = {f"w{i}": torch.full((1000,), float(i)) for i in range(20)}
    save_file(content, tmp_path / "model.safetensors")
    monkeypatch.setattr(tensors, "MAX_MAPPED_BYTES", 10_000)
    reader = TensorReader(tmp_path)
    kept = reader.read("w0")
    for name in reader.names:
        assert torch.equal(reader.read(name), content[name])
    with Path("/proc/self/maps").open() as maps:
        num_mappings = sum(str(tmp_path) in line for line in maps)
    assert num_mappings <= 3  # the tensor's that is kept, the present one, and what is being collected
    assert torch.equal(kept, content["w0"])


def test_a_parameter_is_gone_before_the_next_is_read(workspace, tmp_path, monkeypatch):
    alive: list[weakref.ref] = []

    def merge_parameter(self, slot):
        assert [reference for reference in alive if reference() is not None] == []
        mean = slot.mean
        alive[:] = [weakref.ref(slot.experts), weakref.ref(slot), weakref.ref(mean)]
        return mean, Treatment("mean")

    monkeypatch.setattr(SimpleMean, "merge_parameter", merge_parameter)
    workspace.export(workspace.plan(make_recipe(write_experts(tmp_path, 2))), tmp_path / "out")
    assert alive


PEAK = """
import sys
from pathlib import Path
from fusion_ui import Workspace, read_recipe, read_settings
from fusion_ui.checkpoints import tensors

def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024

tensors.MAX_MAPPED_BYTES = 2**20
workspace = Workspace(read_settings())
small, large, out = map(Path, sys.argv[1:])
workspace.export(workspace.plan(read_recipe(small)), out / "small")  # loads all code
before = peak()
workspace.export(workspace.plan(read_recipe(large)), out / "large")
print(peak() - before)
"""


def test_memory_grows_by_less_than_one_expert(tmp_path):
    recipes, size = [], 0
    for scale in (1, 48):
        models = []
        for i in range(4):
            models.append(write_model(tmp_path / f"{scale} {i}", tiny_bert(i)))
            rest = {f"extra.{k:02}": torch.full((256, 1024), float(i + k)) for k in range(scale)}
            file = models[-1] / "model.safetensors"
            save_file(load_file(file) | rest, file, metadata={"format": "pt"})
            size = file.stat().st_size
        recipes.append(tmp_path / f"{scale}.json")
        recipes[-1].write_text(make_recipe(models).model_dump_json())
    command = [sys.executable, "-c", PEAK, *map(str, recipes), str(tmp_path)]
    environment = os.environ | {"FUSION_UI_CACHE_DIR": str(tmp_path), "FUSION_UI_NUM_THREADS": "1"}
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) < size, "four experts and their merge are five times that"


def test_a_merge_too_large_for_the_experts_type_is_refused(workspace, tmp_path, monkeypatch):
    models = [write_model(tmp_path / f"e{i}", tiny_bert(i).half()) for i in range(2)]
    monkeypatch.setattr(SimpleMean, "merge_parameter", lambda self, slot: (slot.mean * 1e6, Treatment("mean")))
    with pytest.raises(MergeError, match=r"gave entries too large for torch\.float16, the type of e0"):
        workspace.export(workspace.plan(make_recipe(models)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
