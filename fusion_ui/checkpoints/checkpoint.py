"""A model on this machine, known by what it says of itself and by a fingerprint of its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from fusion_ui.checkpoints.tensors import TensorReader
from fusion_ui.errors import CheckpointError
from fusion_ui.sources.files import sha256_of

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "added_tokens.json",
)
GENERATION_FILE = "generation_config.json"
"""Which tokens begin and end what a model writes, where config.json does not say."""
_PATH_CHARACTERS = 300
"""Of a path in a sentence: whatever was typed in the place of a model's name may be one."""


GENERATORS = ("ForConditionalGeneration", "ForCausalLM", "LMHeadModel")
"""How the names of architectures end that give a text and no label."""


@dataclass(frozen=True)
class Checkpoint:
    """One model directory. Holds no tensors; `tensors` reads them when asked.

    Attributes:
        name: what the person calls it.
        directory: safetensors, config.json and tokenizer files.
        source: where it came from, a path or ``owner/name``.
        revision: the commit it was resolved to, where it came from a hub.
        base: of an adapter that was folded into a hub model, that model as ``owner/name@commit``.
    """

    name: str
    directory: Path
    source: str
    revision: str | None = None
    base: str | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of config.json."""
        path = self.directory / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or error  # whose text has the path once more
            raise CheckpointError(
                f"The model {self.name}: {str(path)[:_PATH_CHARACTERS]} cannot be read ({reason}). "
                "Give a directory written by save_pretrained, or the owner/name of a model on the hub."
            ) from None
        if not isinstance(config, dict) or "auto_map" in config:
            raise CheckpointError(
                f"The model {self.name} asks to run code that came with it (auto_map). That is refused."
            )
        return config

    @property
    def architecture(self) -> str:
        """For example ``BertForSequenceClassification``."""
        return architecture_of(self.config)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Label names in the order of the head's outputs."""
        return labels_of(self.config)

    @cached_property
    def tensors(self) -> TensorReader:
        """The weights; one reader for all who name the same files, so that they are mapped into memory once."""
        stamps = [(file.name, file.stat().st_mtime_ns) for file in self.directory.glob("*.safetensors*")]
        return _open_reader(self.directory, tuple(sorted(stamps)))

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digest of config and weights: equal means the same function."""
        digest = hashlib.sha256((self.directory / "config.json").read_bytes())
        for file in self.tensors.files:
            status = file.stat()
            digest.update(_file_digest(file, status.st_size, status.st_mtime_ns).encode())
        return digest.hexdigest()[:32]

    @cached_property
    def tokenizer_fingerprint(self) -> str:
        """Digest of the tokenizer files: equal means the same tokens for the same text."""
        digest = hashlib.sha256()
        for name in TOKENIZER_FILES:
            path = self.directory / name
            if path.is_file():
                digest.update(name.encode() + path.read_bytes())
        return digest.hexdigest()[:32]


def labels_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Label names that a config.json gives, in the order of the head's outputs; none of a model that writes text."""
    if architecture_of(config).endswith(GENERATORS):
        return ()
    labels = config.get("id2label") or {}
    if not labels:  # transformers leaves the names out where they are its own defaults
        return tuple(f"LABEL_{i}" for i in range(config.get("num_labels", 2)))
    return tuple(str(labels[key]) for key in sorted(labels, key=int))


def architecture_of(config: Mapping[str, Any]) -> str:
    """The architecture that a config.json names."""
    return str((config.get("architectures") or [config.get("model_type", "unknown")])[0])


@lru_cache(maxsize=32)
def _open_reader(directory: Path, stamps: tuple[tuple[str, int], ...]) -> TensorReader:
    return TensorReader(directory)


@lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, modified: int) -> str:
    """SHA-256 of a file, remembered while its size and time of change stay the same."""
    return sha256_of(path)
