"""Where models compute: on a GPU where there is one, else on the CPU, as `FUSION_UI_DEVICE` says.

Where a GPU is lent call by call (ZeroGPU), the server computes on the CPU, whatever torch says it has, and a process
that was lent one says so by `take_gpu`.

Forward and backward passes go there, and RegMean's normal equations, which are solved where their Gram matrices lie.
Callers hand a placed model CPU tensors and get CPU tensors, a merge comes home, and files and all other methods stay on
the CPU. Nothing here touches CUDA before a model or a Gram matrix is placed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from fusion_ui.errors import SettingsError
from fusion_ui.settings import read_settings

LENT = torch.device("cuda")
"""What is lent."""
_taken = list[torch.device]()


def take_gpu() -> None:
    """From now on this process, which was lent a GPU, computes on it."""
    _taken[:] = [LENT]
    find_device.cache_clear()


@cache
def find_device() -> torch.device:
    """This process's device.

    Raises:
        SettingsError: CUDA is asked for, and there is none.
    """
    settings = read_settings()
    if settings.borrows_gpu:
        return _taken[0] if _taken else torch.device("cpu")
    return choose_device(settings.device)


def choose_device(wanted: str) -> torch.device:
    """The device for "auto", "cpu" or "cuda".

    Raises:
        SettingsError: CUDA is asked for, and there is none.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise SettingsError(
            "FUSION_UI_DEVICE asks for cuda, but torch finds no GPU it can use. Install torch with CUDA and a driver "
            "for it, or set FUSION_UI_DEVICE to auto or cpu."
        )
    return torch.device("cuda")


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, computing on `device`; unchanged on the CPU."""
    return model if device.type == "cpu" else compute_on(model.to(device), device)


def compute_on(model: Any, device: torch.device) -> nn.Module:
    """Let a model that lies on `device` be called from the CPU.

    Without gradients it computes in bfloat16, whose products are summed in float32; with them in its own precision, for
    squares of small gradients would be lost. What it returns is float32. A model that writes text calls its own parts
    for that, past `forward`, so `generate` is let be called from the CPU too.
    """
    compute, write = model.forward, getattr(model, "generate", None)

    def forward(*args: Any, **inputs: Any) -> Any:
        moved = {name: _move(value, device) for name, value in inputs.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=not torch.is_grad_enabled()):
            outputs = compute(*(_move(value, device) for value in args), **moved)
        for name, value in outputs.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                outputs[name] = value.float().cpu()
        return outputs

    def generate(**inputs: Any) -> Tensor:
        assert write is not None
        moved = {name: _move(value, device) for name, value in inputs.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=not torch.is_grad_enabled()):
            return write(**moved).cpu()

    model.forward = forward
    if write is not None:
        model.generate = generate
    return model


def device_of(model: nn.Module) -> torch.device:
    """Where its parameters lie; the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def name_precision(device: torch.device) -> list[str]:
    """What sets numbers computed on `device` apart in the keys of caches; nothing on the CPU."""
    return [] if device.type == "cpu" else [f"{device.type} bfloat16"]


def awaits_gpu() -> bool:
    """True in a server that borrows a GPU. torch's gradients look for GPUs once a process, and children inherit what
    they found: here none may be computed.
    """
    return read_settings().borrows_gpu and not _taken


def find_precisions() -> tuple[list[str], ...]:
    """What sets numbers apart in the keys of caches: first those that this process computes, then others that it takes.

    A server that borrows a GPU takes what was computed there. What it adds may stand on that, and says so.
    """
    own = name_precision(find_device())
    if not awaits_gpu():
        return (own,)
    lent = name_precision(LENT)
    return [*own, "cpu beside", *lent], lent


def _move(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value
