"""The one way in which transformers loads a classifier here: safetensors, no remote code, nothing printed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

_LOADING = threading.Lock()


def load_classifier(directory: Path, **options: Any) -> Any:
    """A sequence classifier from a directory, as `from_pretrained` returns it with `options`.

    Raises:
        OSError, ValueError, RuntimeError, KeyError: whatever transformers raises.
    """
    import torch
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    with _LOADING:  # transformers switches global state while it loads
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        return AutoModelForSequenceClassification.from_pretrained(
            directory, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, **options
        )
