"""The GPU against the CPU on the demo: how much faster, and how far apart the numbers are. Needs a GPU.

On the GPU forward passes are in bfloat16 and Gram matrices are summed in float32 and float64; on the CPU they are in
float32. Fisher information is in float32 on both, and normal equations are solved in float64 on both.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from benchmarks.timing import report, time_runs
from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.devices import choose_device, place
from fusion_ui.domains.batches import Batch, make_batches
from fusion_ui.methods.regmean import RegMean
from fusion_ui.methods.slot import ParameterSlot
from fusion_ui.progress import Progress
from fusion_ui.settings import read_settings
from fusion_ui.solving.normal_equations import NormalEquations
from fusion_ui.statistics.fisher import accumulate_fisher
from fusion_ui.statistics.gram import accumulate_grams
from fusion_ui.statistics.measure import encode_sample
from fusion_ui.tasks import load_model
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import Workspace

NUM_RUNS = 5
MAX_LOGIT_ERROR, MAX_GRAM_ERROR, MAX_FISHER_ERROR, MAX_WEIGHT_ERROR = 0.1, 0.01, 1e-3, 1e-5
"""Of the largest logit, of the largest diagonal entry of the same Gram, of the largest entry of the same parameter, and
of the same merged weight."""


def find_logits(model: nn.Module, batches: Sequence[Batch]) -> torch.Tensor:
    """Logits of every text, in the order of the batches."""
    with torch.inference_mode():
        rows = [model(input_ids=b.input_ids, attention_mask=b.attention_mask).logits for b in batches]
    return torch.cat(rows)


def compare(what: str, work: Callable[[nn.Module], Any], models: dict[str, nn.Module]) -> dict[str, Any]:
    """Time `work` on both, and give what it found on each."""
    found = {name: work(model) for name, model in models.items()}
    seconds = {name: time_runs(lambda model=model: work(model), NUM_RUNS) for name, model in models.items()}
    for name, taken in seconds.items():
        report(f"{what}, {name}", taken)
    cpu, cuda = (statistics.median(taken) for taken in seconds.values())
    print(f"{what}: the GPU is {cpu / cuda:.1f} times as fast", flush=True)
    return found


def judge(what: str, error: float, limit: float) -> None:
    print(f"{what:<58} {error:.1e}   limit {limit:g}: {'held' if error <= limit else 'MISSED'}", flush=True)


def apart(found: dict[str, dict[str, torch.Tensor]], scale: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """The largest difference of any entry, relative to its own tensor's scale."""
    cpu, cuda = found.values()
    errors = [(cuda[name] - cpu[name]).abs().max() / scale(cpu[name]).clamp_min(1e-30) for name in cpu]
    return float(max(errors))


def compare_solving(grams: dict[str, torch.Tensor], model: nn.Module) -> None:
    """RegMean of as many weights as there are Gram matrices, of two experts that differ by noise, on the same Grams."""
    torch.manual_seed(0)
    widest = max(len(gram) for gram in grams.values())
    weight = next(m.weight.detach() for m in model.modules() if isinstance(m, nn.Linear) and m.in_features == widest)
    experts = {
        gram: weight[:, : len(grams[gram])] + 0.01 * torch.randn(2, len(weight), len(grams[gram])) for gram in grams
    }

    def merge(device: str) -> dict[str, torch.Tensor]:
        merged = {}
        for name, gram in grams.items():
            equations = NormalEquations((gram.to(device), 2 * gram.to(device)), (1, 1), (0.5, 0.5))
            slot = ParameterSlot(name, experts[name].to(device), (0.5, 0.5), is_linear=True, equations=equations)
            merged[name] = RegMean().merge_parameter(slot)[0].cpu()
        return merged

    found = {name: merge(name) for name in ("cpu", "cuda")}
    seconds = {name: time_runs(lambda name=name: merge(name), NUM_RUNS) for name in found}
    for name, taken in seconds.items():
        report(f"RegMean of {len(grams)} weights, {name}", taken)
    cpu, cuda = (statistics.median(taken) for taken in seconds.values())
    print(f"RegMean: the GPU is {cpu / cuda:.1f} times as fast", flush=True)
    judge("merged weights apart", apart(found, lambda t: t.abs().max()), MAX_WEIGHT_ERROR)


def main() -> None:
    workspace = Workspace(read_settings())
    settings, project = workspace.settings, workspace.prepare_demo()
    plan = workspace.plan(default_request(project).recipe(project, "regmean"))
    expert: Checkpoint = plan.experts[0]
    texts, pad_id = encode_sample(expert, plan.calibration_text[0], plan.statistic_settings, settings)
    batches = list(make_batches(texts, range(len(texts)), pad_id, settings.max_tokens_per_batch))
    models = {name: place(load_model(expert), choose_device(name)) for name in ("cpu", "cuda")}
    print(f"{torch.cuda.get_device_name()} against {torch.get_num_threads()} CPU threads; {len(texts)} sentences")
    logits = compare("Forward pass", lambda model: find_logits(model, batches), models)
    judge("logits apart", apart({n: {"": v} for n, v in logits.items()}, lambda t: t.abs().max()), MAX_LOGIT_ERROR)
    same = (logits["cpu"].argmax(-1) == logits["cuda"].argmax(-1)).double().mean()
    print(f"sentences answered alike: {same:.1%}")
    grams = compare("Gram matrices", lambda model: accumulate_grams(model, batches, False, Progress())[0], models)
    judge("Gram matrices apart", apart(grams, lambda t: t.diagonal().max()), MAX_GRAM_ERROR)
    compare_solving(grams["cpu"], models["cpu"])
    some = texts[:32]
    fishers = compare("Fisher information, 32 sentences", lambda m: accumulate_fisher(m, some, Progress()), models)
    judge("Fisher information apart", apart(fishers, lambda t: t.abs().max()), MAX_FISHER_ERROR)


if __name__ == "__main__":
    main()
