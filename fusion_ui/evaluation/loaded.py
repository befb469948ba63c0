"""Models in memory, whose modules also compute with the weights of merges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.devices import find_device, place
from fusion_ui.domains.batches import Batch
from fusion_ui.errors import CheckpointError
from fusion_ui.tasks import find_task, load_model


def bind_weights(skeleton: Checkpoint, tensors: Mapping[str, Tensor]) -> Callable[[Batch], Tensor]:
    """A merge's weights in the architecture of `skeleton`, one of its experts.

    Raises:
        CheckpointError: the architecture has a parameter that the merge does not have.
    """
    loaded, task = keep_loaded(skeleton.fingerprint, skeleton, find_device()), find_task(skeleton.config)
    weights = loaded.take(tensors)
    return lambda batch: task.compute_rows(loaded.module, batch, weights)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in memory, and what was read off it before several threads use it: while one computes with other weights,
    these stand in the module in place of its own.

    Attributes:
        devices: name of a parameter or buffer -> where it lies.
        leaders: every name of a parameter -> the first name of the same one; tied tables share one.
    """

    module: nn.Module
    devices: Mapping[str, torch.device]
    leaders: Mapping[str, str]

    def take(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors that the module has a place for, one of those that it uses twice.

        Raises:
            CheckpointError: a parameter of the module has no tensor, or two tensors are one parameter of it.
        """
        missing = sorted(set(self.leaders.values()) - tensors.keys())
        if missing:
            raise CheckpointError(
                f"The merged weights lack {missing[0]}, which the model needs ({len(missing)} in all)."
            )
        for name, leader in self.leaders.items():
            if name != leader and name in tensors and not torch.equal(tensors[name], tensors[leader]):
                raise CheckpointError(
                    f"The first model uses {leader} for {name} too, and in the merge they differ. "
                    "Name a model first whose two tables differ."
                )
        # torch wants one name of a tied parameter or all of them, and a checkpoint may hold some.
        return {
            name: tensor.to(self.devices[name])
            for name, tensor in tensors.items()
            if name in self.devices and self.leaders.get(name, name) == name
        }


@lru_cache(maxsize=2)
def keep_loaded(fingerprint: str, checkpoint: Checkpoint, device: torch.device) -> LoadedModel:
    """A checkpoint's model, one of the last two asked for; the fingerprint is what tells them apart."""
    module = place(load_model(checkpoint), device)
    places = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers())
    first = {id(parameter): name for name, parameter in module.named_parameters()}
    leaders = {name: first[id(p)] for name, p in module.named_parameters(remove_duplicate=False)}
    return LoadedModel(module, {name: tensor.device for name, tensor in places.items()}, leaders)
