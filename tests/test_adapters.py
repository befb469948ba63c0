"""PEFT adapters are merged like whole models: folded into their base, once, and never into one that does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hub_server import HubServer
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tiny_models import tiny_bert, write_model

from fusion_ui.checkpoints.adapters import merge_adapter
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.finding import find_checkpoint
from fusion_ui.checkpoints.folding import merge_in_child
from fusion_ui.child import ChildLimits
from fusion_ui.errors import CheckpointError
from fusion_ui.merging.preflight import check_recipe
from fusion_ui.merging.recipe import parse_recipe, read_recipe
from fusion_ui.progress import Progress
from fusion_ui.tasks import load_model
from fusion_ui.workspace import Workspace


def write_adapter(folder: Path, base: Path, labels: tuple[str, ...] = ("negative", "positive")) -> torch.nn.Module:
    """An adapter with its own head; returns the model as PEFT runs it."""
    model = tiny_bert(0, labels=labels)
    model.requires_grad_(True)
    config = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"], base_model_name_or_path=str(base))
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for number, (name, parameter) in enumerate(adapted.named_parameters()):
            if "lora" in name or "modules_to_save" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder)
    return adapted.eval()


def test_an_adapter_becomes_the_model_that_it_makes_of_its_base(settings, tmp_path: Path):
    base = write_model(tmp_path / "base", tiny_bert(0))
    adapted = write_adapter(tmp_path / "adapter", base)
    found = find_checkpoint("a", str(tmp_path / "adapter"), settings)
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    with torch.no_grad():
        expected, logits = adapted(input_ids=ids).logits, load_model(found)(input_ids=ids).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    stamp = found.tensors.files[0].stat().st_mtime_ns
    assert find_checkpoint("again", str(tmp_path / "adapter"), settings).directory == found.directory
    assert found.tensors.files[0].stat().st_mtime_ns == stamp, "it was folded a second time"
    assert not torch.equal(
        load_file(found.tensors.files[0])["classifier.weight"],
        load_file(base / "model.safetensors")["classifier.weight"],
    )


def test_a_strangers_adapter_is_folded_in_a_process_of_its_own(tmp_path: Path):
    base = write_model(tmp_path / "base", tiny_bert(0))
    adapted = write_adapter(tmp_path / "adapter", base)
    limits, out = ChildLimits(120.0, 4 << 30, file_bytes=1 << 30), tmp_path / "out"
    out.mkdir()
    merge_in_child(base, tmp_path / "adapter", out, limits, Progress())
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    with torch.no_grad():
        expected, logits = adapted(input_ids=ids).logits, load_model(Checkpoint("a", out, "a"))(input_ids=ids).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    wide = write_model(tmp_path / "wide", tiny_bert(0, hidden_size=32))
    with pytest.raises(CheckpointError, match="adapter adapter does not fit its base wide"):
        merge_in_child(wide, tmp_path / "adapter", out, limits, Progress())
    with pytest.raises(CheckpointError, match=r"took more than 0\.5 s. Fold it at home"):
        merge_in_child(base, tmp_path / "adapter", out, replace(limits, seconds=0.5), Progress())


def test_an_adapter_that_cannot_be_folded_says_why_and_leaves_nothing(settings, tmp_path: Path):
    base = write_model(tmp_path / "base", tiny_bert(0))
    write_adapter(tmp_path / "adapter", base)
    wide = write_model(tmp_path / "wide", tiny_bert(0, hidden_size=32))
    with pytest.raises(CheckpointError, match="adapter adapter does not fit its base wide"):
        find_checkpoint("a", str(tmp_path / "adapter"), settings, base=str(wide))
    with pytest.raises(CheckpointError, match="not the owner/name of a hub model"):
        find_checkpoint("a", str(tmp_path / "adapter"), settings, trusts_paths=False)
    path = tmp_path / "adapter" / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(CheckpointError, match="does not say which base model"):
        find_checkpoint("a", str(tmp_path / "adapter"), settings)
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors"):
        find_checkpoint("a", str(tmp_path / "adapter"), settings)
    assert not settings.adapters_dir.exists() or list(settings.adapters_dir.iterdir()) == []


def test_an_adapter_is_folded_on_the_cpu_whatever_torch_says_it_has(settings, tmp_path: Path, monkeypatch):
    base = write_model(tmp_path / "base", tiny_bert(0))
    write_adapter(tmp_path / "adapter", base)
    expected = load_file(find_checkpoint("a", str(tmp_path / "adapter"), settings).tensors.files[0])

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("CUDA was touched")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("torch.cuda._lazy_init", refuse)
    merge_adapter(base, tmp_path / "adapter", tmp_path / "folded")
    found = load_file(tmp_path / "folded" / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_an_adapters_head_may_have_more_labels_than_its_base(settings, tmp_path: Path):
    base = write_model(tmp_path / "base", tiny_bert(0))
    write_adapter(tmp_path / "adapter", base, ("bad", "fine", "good"))
    found = find_checkpoint("a", str(tmp_path / "adapter"), settings)
    assert len(found.label_names) == 3
    assert load_file(found.tensors.files[0])["classifier.weight"].shape == (3, 16)


def test_an_exported_recipe_pins_the_base_that_an_adapter_names(settings, tmp_path: Path, monkeypatch):
    def publish(seed: int) -> str:
        directory = write_model(tmp_path / f"base{seed}", tiny_bert(seed))
        return hub.add_model("owner/base", {path.name: path.read_bytes() for path in directory.iterdir()})

    workspace = Workspace(settings)
    with HubServer() as hub:
        hub.redirect(monkeypatch, tmp_path / "hub")
        commit = publish(0)
        for name in ("a", "b"):
            write_adapter(tmp_path / name, Path("owner/base"))
        experts = [{"name": name, "model": str(tmp_path / name)} for name in ("a", "b")]
        first = workspace.export(
            workspace.plan(parse_recipe({"method": "simple_mean", "experts": experts})), tmp_path / "first"
        )
        publish(1)  # the main branch moves on
        written = read_recipe(tmp_path / "first" / "recipe.json")
        assert [expert.base for expert in written.experts] == [f"owner/base@{commit}"] * 2
        assert check_recipe(written, settings).problems == ()
        again = workspace.export(workspace.plan(written), tmp_path / "again")
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in first.tensors.items())
