"""A first try of a model from outside, in a process of its own that may fail, hang or grow without harm.

The child builds the configuration's model without memory for its weights, loads the tokenizer and lets it read short
texts. So a regular expression that never ends, a tokenizer that panics, or a size that `checkpoints.limits` did not
foresee ends with a sentence here and not with the process that serves everybody else.
"""

from __future__ import annotations

import json
from pathlib import Path

from fusion_ui.checkpoints.limits import ADAPTER_CONFIG, ModelLimits, read_shapes
from fusion_ui.checkpoints.loading import auto_class_of
from fusion_ui.child import ChildLimits, answer_parent, run_child
from fusion_ui.errors import CheckpointError
from fusion_ui.progress import Progress
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
    name = shown(name or directory.name)
    # torch asks where it could write, and no more
    limits = ChildLimits(seconds, memory_bytes, file_bytes=1 << 16)
    message = f"trying {name} in a process of its own"
    ending = run_child(__spec__.name, str(directory.resolve()), limits, progress or Progress(), message)
    if ending.failure == limits.too_long:
        raise CheckpointError(
            f"The model {name} was refused: building it and reading a few words took more than {seconds:g} s. "
            "Its configuration is too large or its tokenizer does not end; choose another, or use its base's tokenizer."
        )
    problem = str(ending.error).rstrip(".") if ending.error else ending.failure and f"the process {ending.failure}"
    if problem:
        raise CheckpointError(
            f"The model {name} cannot be used: {problem}. Save model and tokenizer again with save_pretrained."
        )


def _work(directory: str, progress: Progress) -> None:
    _try_model(Path(directory))


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
    answer_parent(_work)
