"""Models that write text compute on a GPU as on the CPU: under their own weights, and under those of a merge."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from generative_models import tiny_bart, tiny_gpt2_writer, tiny_t5
from pretend_gpu import pretend_gpu
from torch import Tensor, nn

from fusion_ui.devices import compute_on
from fusion_ui.domains.batches import EncodedText, make_batches
from fusion_ui.tasks.causal_language_model import CausalLanguageModel
from fusion_ui.tasks.generation import set_greedy
from fusion_ui.tasks.sequence_to_sequence import SequenceToSequence
from fusion_ui.tasks.task import Task

TEXTS = [(5, 6, 7, 8), (9, 10, 11, 12, 13), (20, 21)]


def move(model: Any, device: torch.device) -> None:
    """`Module.to` puts other tensors under the same parameters, which those that are not there cannot be."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().to(device), requires_grad=False)
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)
    model.tie_weights()


def write_all(task: Task, model: nn.Module, num_new: int, weights: dict[str, Tensor] | None) -> list[Tensor]:
    texts = [EncodedText(ids, num_new=num_new) for ids in TEXTS]
    return [task.compute_rows(model, batch, weights) for batch in make_batches(texts, range(len(texts)), 0, 64)]


@pytest.mark.parametrize(
    ("make", "task", "num_new"),
    [
        (tiny_t5, SequenceToSequence(), 0),
        (tiny_bart, SequenceToSequence(), 0),
        (tiny_gpt2_writer, CausalLanguageModel(), 6),
    ],
)
@pytest.mark.parametrize("is_merge", [False, True])
def test_what_is_written_there_comes_home_and_is_the_same(
    make: Callable[[int], Any], task: Task, num_new: int, is_merge: bool, monkeypatch: pytest.MonkeyPatch
):
    model = make(1).eval()
    set_greedy(model)
    # One name of tied parameters, as a merge has them.
    weights = {name: p.detach().clone() for name, p in make(2).named_parameters()} if is_merge else None
    expected = write_all(task, model, num_new, weights)
    assert any((rows > 4).any() for rows in expected), "nothing was written"
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # so that all is equal to the bit
    with pretend_gpu() as device:
        move(model, device)
        there = weights and {name: tensor.to(device) for name, tensor in weights.items()}
        found = write_all(task, compute_on(model, device), num_new, there)
    assert all(rows.device.type == "cpu" for rows in found)
    for ours, own in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, own, rtol=0, atol=0, equal_nan=True)
