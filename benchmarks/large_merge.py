"""The simple mean of four checkpoints of 1 GB: `fusion-ui merge` against mergekit's linear merge of the same files.

Both run as processes of their own, in turn, from start to exit, import time included. Memory is what the operating
system counts at the peak, mapped file pages included.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.peer import PEER, install_peer
from benchmarks.timing import report

# torch is imported only in the functions that run elsewhere: a child's peak counts what its parent holds at the start.

NUM_MODELS, NUM_PAIRS = 4, 5
NUM_LAYERS = 18
"""Of BERT-large's 24, for 1.04 GB in float32."""
MAX_GB, MAX_RATIO, MAX_ROUNDINGS = 2.5, 1.0, 4.0


def main() -> None:
    peer = install_peer() / "mergekit-yaml"
    with tempfile.TemporaryDirectory() as name, multiprocessing.get_context("spawn").Pool(1) as elsewhere:
        folder = Path(name)
        models = [folder / f"model{i}" for i in range(NUM_MODELS)]
        num_bytes = elsewhere.apply(write_models, (models,))
        recipe, config = folder / "recipe.json", folder / "config.yml"
        recipe.write_text(
            json.dumps({"method": "simple_mean", "experts": [{"name": m.name, "model": str(m)} for m in models]})
        )
        entries = [{"model": str(model), "parameters": {"weight": 1.0}} for model in models]
        config.write_text(json.dumps({"merge_method": "linear", "models": entries}))  # JSON is YAML
        ours, theirs = folder / "ours", folder / "theirs"
        our_command = [sys.executable, "-m", "fusion_ui", "merge", str(recipe), "--out", str(ours)]
        peer_command = [str(peer), str(config), str(theirs), "--no-copy-tokenizer", "--quiet"]
        print(
            f"\nSimple mean of {NUM_MODELS} checkpoints of {num_bytes / 1e9:.2f} GB, from start to exit of the process"
        )
        our_runs, peer_runs = [], []
        for _ in range(NUM_PAIRS + 1):  # the first pair is the warm-up, which brings the files into the page cache
            our_runs.append(_run(our_command, ours))
            peer_runs.append(_run(peer_command, theirs))
        roundings = elsewhere.apply(largest_difference, (ours, theirs))
    our_seconds, peer_seconds = ([seconds for seconds, _ in runs[1:]] for runs in (our_runs, peer_runs))
    report("ours: fusion-ui merge", our_seconds)
    report(f"{PEER}: mergekit-yaml, linear", peer_seconds)
    ratio = statistics.median(o / p for o, p in zip(our_seconds, peer_seconds, strict=True))
    print(f"ours / theirs, median of pairs: {ratio:.2f}   limit {MAX_RATIO:g}: {_verdict(ratio <= MAX_RATIO)}")
    our_peak, peer_peak = (max(peak for _, peak in runs) for runs in (our_runs, peer_runs))
    print(f"peak memory: ours {our_peak:.2f} GB, theirs {peer_peak:.2f} GB", end="")
    print(f"   limit {MAX_GB:g} GB: {_verdict(our_peak <= MAX_GB)}")
    print(f"largest difference: {roundings:.2f} roundings", end="")
    print(f"   limit {MAX_ROUNDINGS:g}: {_verdict(roundings <= MAX_ROUNDINGS)}")


def _run(command: list[str], out: Path) -> tuple[float, float]:
    """Wall seconds and peak memory in GB of one process that writes the new directory `out`."""
    shutil.rmtree(out, ignore_errors=True)
    # Each program decides for itself how its threads wait; importing fusion_ui may have decided it for this process.
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    os.sync()  # so that nobody waits for what the run before left to write
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read().decode(errors='replace')}")
    return seconds, usage.ru_maxrss * 1024 / 1e9


def _verdict(is_held: bool) -> str:
    return "held" if is_held else "MISSED"


def write_models(folders: list[Path]) -> int:
    """Write BERT-large-like classifiers of random float32 weights; return the bytes of one."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        hidden_size=1024, num_hidden_layers=NUM_LAYERS, num_attention_heads=16, intermediate_size=4096, num_labels=2
    )
    config.architectures = ["BertForSequenceClassification"]
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in BertForSequenceClassification(config).named_parameters()}
    for seed, folder in enumerate(folders):
        generator = torch.Generator().manual_seed(seed)
        config.save_pretrained(folder)
        tensors = {name: 0.02 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return (folders[0] / "model.safetensors").stat().st_size


def largest_difference(ours: Path, theirs: Path) -> float:
    """Largest difference between two models, in float32 roundings of the largest entry of the tensor it stands in."""
    import torch

    from fusion_ui.checkpoints.tensors import TensorReader

    a, b = TensorReader(ours), TensorReader(theirs)
    if a.names != b.names:
        raise SystemExit(f"The two merges have different tensors: {sorted(set(a.names) ^ set(b.names))[:5]}")
    rounding = torch.finfo(torch.float32).eps
    return max(((a[name] - b[name]).abs().max() / (rounding * a[name].abs().max())).item() for name in a.names)


if __name__ == "__main__":
    main()
