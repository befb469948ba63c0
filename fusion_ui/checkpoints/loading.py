"""The one way in which transformers loads a model here: safetensors, no remote code, nothing printed."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusion_ui.checkpoints.checkpoint import architecture_of

_LOADING = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child forked meanwhile would wait forever for a thread that it does not have
    os.register_at_fork(before=_LOADING.acquire, after_in_parent=_LOADING.release, after_in_child=_LOADING.release)

AUTO_CLASSES = {
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForConditionalGeneration": "AutoModelForSeq2SeqLM",
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
}
"""How the name of an architecture ends -> the class of transformers that loads it."""


def auto_class_of(config: Mapping[str, Any]) -> str:
    """The class of transformers that loads a model with this config.json; sequence classifiers where nothing tells."""
    name = architecture_of(config)
    found = (auto_class for end, auto_class in AUTO_CLASSES.items() if name.endswith(end))
    return next(found, "AutoModelForSequenceClassification")


def load_pretrained(directory: Path, auto_class: str = "AutoModelForSequenceClassification", **options: Any) -> Any:
    """A model from a directory, as `from_pretrained` of that class of transformers returns it with `options`.

    Raises:
        OSError, ValueError, RuntimeError, KeyError: whatever transformers raises.
    """
    import torch
    import transformers
    from transformers.utils import logging

    with _LOADING:  # transformers switches global state while it loads
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        return getattr(transformers, auto_class).from_pretrained(
            directory, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, **options
        )
