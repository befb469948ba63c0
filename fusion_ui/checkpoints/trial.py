"""A first try of a model from outside, in a process of its own that may fail, hang or grow without harm.

The child builds the configuration's model without memory for its weights, loads the tokenizer and lets it read short
texts. So a regular expression that never ends, a tokenizer that panics, or a size that `checkpoints.limits` did not
foresee ends with a sentence here and not with the process that serves everybody else.

    python -m fusion_ui.checkpoints.trial DIRECTORY SECONDS MEMORY_BYTES
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from fusion_ui.checkpoints.limits import ADAPTER_CONFIG, ModelLimits, read_shapes
from fusion_ui.checkpoints.loading import auto_class_of
from fusion_ui.errors import CheckpointError, FusionError
from fusion_ui.progress import Progress
from fusion_ui.sources.fetch import first_line
from fusion_ui.sources.upload import shown

TEXTS = (
    "A first try.",
    "",
    "a" * 64 + "!",  # long runs are what a hostile pattern starves on
    " " * 64 + "\n\t" + "0" * 64 + "?",
    "ab" * 64 + "\u00e9\u4e2d\U0001f642\u200b\x00</s>[CLS]",
)
_FREE_PARAMETERS = 20_000_000
"""Parameters that a file need not hold: a classification head, a pooler, tied embeddings of a small model."""

_FREE_WORDS = 1_000
"""Words that a tokenizer may have and its model not: some are published so, and never produce them."""


def try_in_child(
    directory: Path,
    seconds: float = 60.0,
    memory_bytes: int = 3 << 30,
    *,
    name: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Build the model's skeleton and use its tokenizer in a child process. Call `check_untrusted` first.

    An adapter is not tried, for it has no model of its own. Try what it was folded into.

    Args:
        seconds: after which the child is killed, about 5 of them spent on importing transformers.
        memory_bytes: data that the child may allocate; importing torch and transformers takes about 0.4 GiB of it.
        name: what the person calls the model; the directory's name without it.

    Raises:
        CheckpointError: the model or its tokenizer cannot be built within the limits.
        StoppedError: the person stopped it.
    """
    if (directory / ADAPTER_CONFIG).exists():
        return
    progress, name = progress or Progress(), shown(name or directory.name)
    # -P keeps the current directory off the import path, where a file named torch.py would be run.
    command = [sys.executable, "-P", "-m", __spec__.name, str(directory.resolve()), str(seconds), str(memory_bytes)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    )
    end = time.monotonic() + seconds
    try:
        while True:
            try:
                answer, _ = process.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > end:
                    raise CheckpointError(_too_long(name, seconds)) from None
                progress.report(1 - (end - time.monotonic()) / seconds, f"trying {name} in a process of its own")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    if process.returncode == -signal.SIGXCPU:
        raise CheckpointError(_too_long(name, seconds))
    try:
        problem = json.loads(answer)["problem"]
    except ValueError:
        problem = f"it takes more than {memory_bytes >> 20} MiB of memory, or ends the process that reads it"
    if problem:
        raise CheckpointError(
            f"The model {name} cannot be used: {problem}. Save model and tokenizer again with save_pretrained."
        )


def _too_long(name: str, seconds: float) -> str:
    return (
        f"The model {name} was refused: building it and reading a few words took more than {seconds:g} s. "
        "Its configuration is too large or its tokenizer does not end; choose another, or use its base's tokenizer."
    )


def _environment() -> dict[str, str]:
    """The child's environment: where Python and this package are, no network, and nobody's secrets."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")}
    package_home = str(Path(__file__).resolve().parents[2])
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_DISABLE_TELEMETRY"), "1")
    threads = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    return kept | offline | threads | {"PYTHONPATH": package_home, "PYTHONDONTWRITEBYTECODE": "1"}


def main(directory: str, seconds: str, memory_bytes: str) -> None:
    """The child's side: limit this process, try the model, and print one JSON object with the problem or null."""
    with suppress(ImportError):  # Windows has no such limits; there the parent's clock alone holds
        import resource

        # Data, not address space: libraries with CUDA map many GiB that they never touch.
        resource.setrlimit(resource.RLIMIT_DATA, (int(memory_bytes), int(memory_bytes)))
        resource.setrlimit(resource.RLIMIT_CPU, (int(float(seconds)) + 1, int(float(seconds)) + 2))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))  # torch asks where it could write, and no more
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed is no answer
    try:
        _try_model(Path(directory))
        problem = None
    except FusionError as error:
        problem = str(error).rstrip(".")
    except MemoryError:
        problem = f"it takes more than {int(memory_bytes) >> 20} MiB of memory"
    except BaseException as error:  # a panic in a tokenizer's Rust code is no Exception
        problem = f"{type(error).__name__}: {shown(first_line(error)).rstrip('.')}"
    os.write(answer, json.dumps({"problem": problem}).encode())
    os._exit(0)  # without tidying up, which a huge or damaged model could make long


def _try_model(directory: Path) -> None:
    import torch
    import transformers
    from transformers import AutoConfig, AutoTokenizer

    content = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    with torch.device("meta"):
        model = getattr(transformers, auto_class_of(content)).from_config(config, trust_remote_code=False)
    stored = read_shapes(directory, ModelLimits())
    for name, tensor in model.state_dict().items():
        if name in stored and tuple(tensor.shape) != stored[name]:
            raise CheckpointError(
                f"{name[:200]} has the shape {list(stored[name])} in its file and {list(tensor.shape)} by config.json"
            )
    # What a file does not hold would be made up in memory when the model is loaded.
    wanted = sum(parameter.numel() for parameter in model.parameters())
    held = sum(torch.Size(shape).numel() for shape in stored.values())
    if wanted > 1.5 * held + _FREE_PARAMETERS:
        raise CheckpointError(f"config.json describes {wanted} parameters, of which its weights hold {held}")
    tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    if len(tokenizer) > config.vocab_size + _FREE_WORDS:
        raise CheckpointError(f"its tokenizer has {len(tokenizer)} words, of which the model knows {config.vocab_size}")
    for text in TEXTS:
        ids = tokenizer(text, truncation=True, max_length=64)["input_ids"]
        if ids and max(ids) >= config.vocab_size:
            raise CheckpointError(f"its tokenizer gives the id {max(ids)}, and the model knows {config.vocab_size}")


if __name__ == "__main__":
    main(*sys.argv[1:])
