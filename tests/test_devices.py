"""Where models compute: chosen, refused in a sentence, and on the CPU nothing changes; CUDA is left alone at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_bert

from fusion_ui.devices import choose_device, compute_on, device_of, name_precision, place
from fusion_ui.domains.batches import Batch, EncodedText, make_batches
from fusion_ui.errors import SettingsError
from fusion_ui.progress import Progress
from fusion_ui.statistics.gram import accumulate_grams

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")


def batches() -> list[Batch]:
    texts = [EncodedText(tuple(range(5, 5 + length))) for length in (4, 9, 9, 12, 20)]
    return list(make_batches(texts, range(len(texts)), 0, 64))


@pytest.mark.parametrize(
    ("wanted", "has_cuda", "found"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_the_device_is_chosen_by_itself_or_as_the_setting_says(monkeypatch, wanted: str, has_cuda: bool, found: str):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    assert choose_device(wanted).type == found


def test_a_gpu_that_is_not_there_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match=r"asks for cuda, but torch finds no GPU .* set FUSION_UI_DEVICE to auto"):
        choose_device("cuda")


def test_on_the_cpu_a_model_and_the_keys_of_caches_stay_as_they_are():
    model = tiny_bert().eval()
    forward = model.forward
    assert place(model, CPU) is model and model.forward == forward
    assert device_of(model) == CPU and name_precision(CPU) == []
    assert name_precision(torch.device("cuda")) == ["cuda bfloat16"]


def test_a_model_that_computes_elsewhere_is_called_as_before_and_rounds_as_bfloat16_does():
    # The same wrapper, around a model whose other place is the CPU too.
    plain, placed = tiny_bert().eval(), tiny_bert().eval()
    placed.load_state_dict(plain.state_dict())
    compute_on(placed.requires_grad_(True), CPU)
    for batch in batches():
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        with torch.inference_mode():
            expected, found = plain(**inputs).logits, placed(**inputs).logits
        assert found.dtype is torch.float32 and found.device == CPU
        assert not torch.equal(found, expected), "it did not compute in bfloat16"
        torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
        exact = placed(**inputs).logits  # with gradients, in its own precision
        torch.testing.assert_close(exact, plain(**inputs).logits, rtol=0, atol=0)
        exact.sum().backward()


def test_gram_matrices_of_a_bfloat16_pass_are_summed_in_float32_or_better():
    plain, placed = tiny_bert().eval(), tiny_bert().eval()
    placed.load_state_dict(plain.state_dict())
    compute_on(placed, CPU)
    expected, rows = accumulate_grams(plain, batches(), False, Progress())
    found, same = accumulate_grams(placed, batches(), False, Progress())
    assert {name: i.num_rows for name, i in rows.items()} == {name: i.num_rows for name, i in same.items()}
    for name, gram in expected.items():
        assert found[name].dtype is torch.float64 and found[name].device == CPU
        error = (found[name] - gram).abs().max() / gram.diagonal().max()
        assert error < 0.02, f"{name}: {error:.1e}"


NO_CUDA_AT_IMPORT = """
import pkgutil, torch
def refuse(*_, **__):
    raise AssertionError("CUDA was touched at import")
torch._C._cuda_init = torch.cuda._lazy_init = torch.cuda.init = torch.cuda.is_available = refuse
import fusion_ui
for module in pkgutil.walk_packages(fusion_ui.__path__, "fusion_ui."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
import fusion_ui.ui.serving
assert not torch.cuda.is_initialized()
"""


def test_nothing_touches_cuda_at_import():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", NO_CUDA_AT_IMPORT]
    found = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr[-2000:]
