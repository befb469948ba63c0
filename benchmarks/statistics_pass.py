"""Measuring the statistics of the demo's four experts on 256 sentences each: Gram matrices, and Fisher information.

The pass over the text alone is compared, on every expert and in turn, with a plain forward pass over the same batches,
and with the published way of collecting Gram matrices: a hook on every linear module by itself, so that query, key and
value each multiply the same input, over batches of 16 texts as they come, padding and all.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.timing import report
from fusion_ui.domains.batches import Batch, EncodedText, make_batches
from fusion_ui.merging.plan import measure_statistics
from fusion_ui.progress import Progress
from fusion_ui.settings import read_settings
from fusion_ui.statistics.gram import accumulate_grams, linear_modules
from fusion_ui.statistics.measure import encode_sample
from fusion_ui.tasks import load_model
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import Workspace

NUM_RUNS = 10


def published(model: nn.Module, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Gram matrices as released code collects them: every linear module alone, padding flattened into the rows."""
    grams: dict[str, Tensor] = {}

    def hook(name: str):
        def observe(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            rows = args[0].reshape(-1, args[0].shape[-1])
            grams[name] = grams.get(name, 0) + rows.T @ rows

        return observe

    handles = [module.register_forward_pre_hook(hook(name)) for name, (module, _) in linear_modules(model).items()]
    try:
        run(model, batches)
    finally:
        for handle in handles:
            handle.remove()
    return grams


def run(model: nn.Module, batches: Sequence[Batch]) -> None:
    """A forward pass over every batch."""
    with torch.inference_mode():
        for batch in batches:
            model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)


def compare_passes(workspace: Workspace) -> None:
    """Tokens a second of the three passes over each expert's text, in turn, so that the machine's mood is shared."""
    settings, project = workspace.settings, workspace.prepare_demo()
    plan = workspace.plan(default_request(project).recipe(project, "regmean"))
    names = ("plain forward pass, our batches", "Gram matrices, ours", "Gram matrices, the published way")
    seconds: dict[str, list[list[float]]] = {name: [] for name in names}
    num_texts, num_tokens = 0, 0
    for domain, expert in zip(plan.calibration_text, plan.experts, strict=True):
        texts, pad_id = encode_sample(expert, domain, plan.statistic_settings, settings)
        model = load_model(expert)
        num_texts, num_tokens = num_texts + len(texts), num_tokens + sum(map(len, texts))
        ours = list(make_batches(texts, range(len(texts)), pad_id, settings.max_tokens_per_batch))
        theirs = [pad_batch(texts[i : i + 16], pad_id) for i in range(0, len(texts), 16)]
        passes: list[Callable[[], object]] = [
            partial(run, model, ours),
            partial(accumulate_grams, model, ours, False, Progress()),
            partial(published, model, theirs),
        ]
        for taken, work in zip(seconds.values(), time_in_turn(passes), strict=True):
            taken.append(work)
    forward, gram, peer = ([sum(each) for each in zip(*taken, strict=True)] for taken in seconds.values())
    print(f"\nThe four experts' {num_texts} sentences, {num_tokens} tokens, once")
    for name, taken in zip(names, (forward, gram, peer), strict=True):
        report(f"{name}: {num_tokens / statistics.median(taken):,.0f} tokens/s", taken)
    faster = statistics.median(p / g for p, g in zip(peer, gram, strict=True))
    cost = statistics.median(g / f for g, f in zip(gram, forward, strict=True))
    print(f"against the published way: {faster:.2f} times   limit 2.5: {'held' if faster >= 2.5 else 'MISSED'}")
    print(f"cost in forward passes: {cost:.2f}   limit 2: {'held' if cost <= 2 else 'MISSED'}")


def time_in_turn(passes: Sequence[Callable[[], object]]) -> list[list[float]]:
    """Seconds of each of some passes, all of them run again and again in turn, the first time left out."""
    seconds: list[list[float]] = [[] for _ in passes]
    for _ in range(NUM_RUNS + 1):
        for taken, work in zip(seconds, passes, strict=True):
            started = time.perf_counter()
            work()
            taken.append(time.perf_counter() - started)
    return [taken[1:] for taken in seconds]


def pad_batch(texts: Sequence[EncodedText], pad_id: int) -> Batch:
    """Some texts as one batch, in their own order."""
    longest = max(map(len, texts))
    ids = torch.tensor([[*text.ids, *[pad_id] * (longest - len(text))] for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    return Batch(tuple(range(len(texts))), ids, mask)


def main() -> None:
    settings = read_settings()
    workspace = Workspace(settings)
    project = workspace.prepare_demo()
    compare_passes(workspace)
    print("\nStatistics of four experts x 256 sentences, nothing cached, model loading and writing included")
    for method, limit in (("regmean", 15.0), ("fisher", 90.0)):
        plan = workspace.plan(default_request(project).recipe(project, method))
        seconds = []
        for _ in range(NUM_RUNS + 1):
            with tempfile.TemporaryDirectory() as cache:
                empty = settings.model_copy(update={"cache_dir": Path(cache)})
                started = time.perf_counter()
                measure_statistics(plan, empty, Progress())
                seconds.append(time.perf_counter() - started)
        report({"regmean": "Gram matrices", "fisher": "Fisher information"}[method], seconds[1:], limit)


if __name__ == "__main__":
    main()
