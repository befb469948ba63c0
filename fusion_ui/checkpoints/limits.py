"""What a model from outside may ask for: bounds that are checked before anything of it is loaded.

No tensor is read here and no transformers is asked, and every file is read up to a bound. What passes is small enough
and asks for no code; whether transformers can build it is then tried in a child process (`checkpoints.trial`).
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusion_ui.checkpoints.checkpoint import TOKENIZER_FILES
from fusion_ui.checkpoints.tensors import INDEX_FILE, SINGLE_FILE
from fusion_ui.errors import CheckpointError
from fusion_ui.sources.upload import SHARD, shown

_TEXT_MODELS = "albert bert deberta-v2 distilbert electra gpt2 llama modernbert mpnet opt qwen2 roberta t5 xlm-roberta"
FAMILIES = frozenset([*_TEXT_MODELS.split(), "bart"])
ADAPTER_CONFIG, ADAPTER_FILE = "adapter_config.json", "adapter_model.safetensors"

_ITEM_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_TOKENIZER_CLASS = re.compile(
    "(Albert|Bart|Bert|Code[Ll]lama|DebertaV2|DistilBert|Electra|GPT2|Llama|MPNet|Qwen2|Roberta|T5|XLMRoberta|PreTrained)"
    "Tokenizer(Fast)?|TokenizersBackend"
)
# Fields through which a file would name code, other files or other sizes than the ones checked here.
_REFUSED = {
    "config.json": "auto_map quantization_config transformers_weights per_layer_config kernel_config use_kernels",
    "tokenizer_config.json": "auto_map gguf_file fast_tokenizer_files init_inputs sp_model_kwargs",
    ADAPTER_CONFIG: "auto_mapping megatron_config layer_replication",
}
_OBJECTS = "id2label label2id rope_parameters rope_scaling task_specific_params sentence_transformers"
_DTYPES = (None, "auto", "float64", "float32", "float16", "bfloat16")
_PATTERNS = "target_modules exclude_modules layers_pattern modules_to_save rank_pattern alpha_pattern target_parameters"


@dataclass(frozen=True)
class ModelLimits:
    """The largest model that is accepted. Sizes in bytes."""

    max_files: int = 1000
    max_json_bytes: int = 6 << 20
    """A configuration, an index, or the header of a weight file."""
    max_tokenizer_bytes: int = 48 << 20
    max_weight_bytes: int = 16 << 30
    """All weight files together."""
    max_shards: int = 64
    max_tensors: int = 20_000
    max_labels: int = 5_000
    max_layers: int = 128
    max_heads: int = 512
    max_width: int = 65_536
    max_vocabulary: int = 1_000_000
    max_positions: int = 1 << 20
    max_rank: int = 1_024
    max_number: int = 1 << 31
    """Any other number, such as a token id."""


# The first pattern that a field's whole name matches bounds it, whatever family spells it so.
_BOUNDS = (
    (re.compile(r"num_labels"), "max_labels"),
    (re.compile(r".*vocab_size"), "max_vocabulary"),
    (re.compile(r".*(layers?|groups|group_num)"), "max_layers"),
    (re.compile(r".*heads?"), "max_heads"),
    (re.compile(r"r|.*rank|rank_pattern"), "max_rank"),
    (re.compile(r".*(positions?|position_embeddings|n_ctx|buckets|distance|length|window)"), "max_positions"),
    (re.compile(r".*(size|dim|embd|inner)|d_\w+"), "max_width"),
)


def check_untrusted(
    directory: Path, limits: ModelLimits | None = None, *, allow_links: bool = False, name: str | None = None
) -> None:
    """Check that a model directory from outside is bounded in every size and names no code and no other file.

    Args:
        allow_links: the directory is a snapshot in the hub's cache, whose files are links into ``../../blobs``.
        name: what the person calls the model; the directory's name without it.

    Raises:
        CheckpointError: it is not. The message names the file and the field.
    """
    limits, name = limits or ModelLimits(), shown(name or directory.name)
    is_adapter = (directory / ADAPTER_CONFIG).exists()
    try:
        _check_files(directory, limits, allow_links)
        for file in ("config.json", "tokenizer_config.json", ADAPTER_CONFIG):
            if (directory / file).exists() or (file == "config.json" and not is_adapter):
                _check_fields(file, _read_json(directory / file, limits), limits)
        read_shapes(directory, limits)
    except _RefusedError as error:
        raise CheckpointError(f"The model {name} is refused: {error}") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
        reason = f"{getattr(error, 'filename', None) or ''} {getattr(error, 'strerror', None) or type(error).__name__}"
        raise CheckpointError(f"The model {name} cannot be read: {reason.rpartition('/')[2].strip()}.") from None


def read_shapes(directory: Path, limits: ModelLimits) -> dict[str, tuple[int, ...]]:
    """Name and shape of every stored tensor, from headers that were checked against their files' sizes."""
    if (directory / ADAPTER_CONFIG).exists():
        # transformers would otherwise load both, and look for the adapter's base under a name that the adapter gives.
        if (directory / SINGLE_FILE).exists() or (directory / INDEX_FILE).exists():
            raise _RefusedError("it holds a whole model and an adapter. Give one of them.")
        return _read_header(directory / ADAPTER_FILE, limits)
    if (directory / SINGLE_FILE).exists():
        return _read_header(directory / SINGLE_FILE, limits)
    if not (directory / INDEX_FILE).exists():
        raise _RefusedError(
            f"it has no {SINGLE_FILE}, the only weights that are read. "
            "Save it with save_pretrained(..., safe_serialization=True)."
        )
    places = _read_json(directory / INDEX_FILE, limits).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(n, str) and SHARD.fullmatch(n) for n in places.values()):
        raise _RefusedError(f"{INDEX_FILE} names a file that is no part of the model. Save the model again.")
    if len(set(places.values())) > limits.max_shards:
        raise _RefusedError(f"{INDEX_FILE} names more than {limits.max_shards} files. Save it in larger parts.")
    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(set(places.values())):
        found = _read_header(directory / file, limits)
        if set(found) != {tensor for tensor, place in places.items() if place == file}:
            raise _RefusedError(f"{file} holds other tensors than {INDEX_FILE} says. Save the model again.")
        shapes |= found
    if len(shapes) > limits.max_tensors:
        raise _RefusedError(f"it holds {len(shapes)} tensors; at most {limits.max_tensors} are accepted.")
    return shapes


class _RefusedError(CheckpointError):
    """Why a model is refused, without its name."""


def _check_files(directory: Path, limits: ModelLimits, allow_links: bool) -> None:
    """Every entry is a file or folder of this directory, and what transformers reads at once is small."""
    root, weights = directory.resolve(), 0
    blobs = root.parent.parent / "blobs"
    entries: list[os.DirEntry[str]] = []
    with os.scandir(root) as found:
        for entry in found:
            entries.append(entry)
            if len(entries) > limits.max_files:
                raise _RefusedError(f"it holds more than {limits.max_files} files. Give the model's own files only.")
    for entry in entries:
        if entry.is_symlink():
            target = Path(entry.path).resolve()
            if not (target.parent == root or (allow_links and target.parent == blobs)) or not target.exists():
                raise _RefusedError(f"{shown(entry.name)} is a link that leaves the directory. Put the file there.")
        status = entry.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise _RefusedError(f"{shown(entry.name)} is no ordinary file. Remove it.")
        is_read_at_once = entry.name in TOKENIZER_FILES or entry.name.endswith((".jinja", ".json", ".model"))
        if is_read_at_once and status.st_size > limits.max_tokenizer_bytes:
            raise _RefusedError(f"{shown(entry.name)} has more than {limits.max_tokenizer_bytes >> 20} MiB.")
        weights += status.st_size if entry.name.endswith(".safetensors") else 0
    if weights > limits.max_weight_bytes:
        raise _RefusedError(f"its weights take more than {limits.max_weight_bytes >> 30} GiB.")


def _read_json(path: Path, limits: ModelLimits) -> dict[str, Any]:
    with path.open("rb") as file:
        text = file.read(limits.max_json_bytes + 1)
    if len(text) > limits.max_json_bytes:
        raise _RefusedError(f"{path.name} has more than {limits.max_json_bytes >> 10} KiB.")
    return _parse_json(path.name, text)


def _parse_json(file: str, text: bytes) -> dict[str, Any]:
    """One JSON object without repeated names, of which different readers would see different ones."""

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(collected := dict(pairs)) < len(pairs):
            raise ValueError("a name stands in it twice")
        return collected

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=collect)
    except (ValueError, RecursionError) as error:
        raise _RefusedError(f"{file} cannot be read as JSON ({shown(str(error))}). Save the model again.") from None
    if not isinstance(value, dict):
        raise _RefusedError(f"{file} holds no JSON object. Save the model again.")
    return value


def _check_fields(file: str, content: dict[str, Any], limits: ModelLimits) -> None:
    """No field that names code, and every number and text within its bound."""
    for field in _REFUSED[file].split():
        if content.get(field):
            raise _RefusedError(f"{file} asks for {field}, which could run code or read other files. Remove the field.")
    kind = content.get("tokenizer_class")
    if kind is not None and not _TOKENIZER_CLASS.fullmatch(str(kind)):
        raise _RefusedError(
            f"{file}: the tokenizer_class {shown(str(kind))!r} is none that is accepted. "
            "Save the tokenizer as a fast one (tokenizer.json) and name PreTrainedTokenizerFast."
        )
    if file == "tokenizer_config.json":
        return  # its numbers size nothing that its own length does not bound, and 10^30 is its usual "no limit"
    for field, value in content.items():
        if not re.fullmatch(r"_?[A-Za-z]\w{0,63}", field, re.ASCII):
            raise _RefusedError(f"{file} has a field with the strange name {shown(field)!r}. Remove it.")
        limit = next((limit for pattern, limit in _BOUNDS if pattern.fullmatch(field)), "max_number")
        if limit not in ("max_number", "max_rank") and value and not isinstance(value, int | float):
            raise _RefusedError(f"{file}: {field} is {shown(repr(value))} and no number. Save the model again.")
        _check_value(file, field, value, getattr(limits, limit), depth=0)
    _check_config(content, limits) if file == "config.json" else _check_adapter_config(content)


def _check_value(file: str, field: str, value: Any, bound: int, depth: int) -> None:
    if isinstance(value, dict | list) and depth < 4:
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            _check_value(file, field, item, bound, depth + 1)
    elif isinstance(value, int | float):
        if not -bound <= value <= bound:  # not a number, too, is not within
            raise _RefusedError(f"{file}: {field} is {shown(repr(value))}; it may be at most {bound}.")
    elif value is not None and (not isinstance(value, str) or len(value) > 2000):
        raise _RefusedError(f"{file}: {field} is nested too deeply or longer than 2000 characters.")


def _check_config(config: dict[str, Any], limits: ModelLimits) -> None:
    """The fields from which transformers builds a model."""
    file, labels = "config.json", config.get("id2label")
    if str(config.get("model_type")) not in FAMILIES:
        raise _RefusedError(
            f"{file}: the model_type {shown(str(config.get('model_type')))!r} is none that is accepted. "
            f"Choose a model of one of these families: {', '.join(sorted(FAMILIES))}."
        )
    for field, value in config.items():
        if "implementation" in field and value not in (None, "eager", "sdpa"):
            raise _RefusedError(f"{file}: {field} asks for foreign code, {shown(str(value))!r}. Remove the field.")
        if (field.endswith("_plan") or (isinstance(value, dict) and field not in _OBJECTS.split())) and value:
            raise _RefusedError(f"{file}: {field} is none of the objects that a text model's configuration has.")
        if field in ("dtype", "torch_dtype") and value not in _DTYPES:
            raise _RefusedError(f"{file}: {field} is {shown(str(value))!r}; it may be float32, float16 or bfloat16.")
    architectures = config.get("architectures")
    if architectures is not None and not (
        isinstance(architectures, list) and all(re.fullmatch(r"\w{1,80}", str(a)) for a in architectures)
    ):
        raise _RefusedError(f"{file}: architectures is no list of class names. Save the model again.")
    if type(config.get("num_labels", 2)) is not int:
        raise _RefusedError(f"{file}: num_labels is no whole number. Save the model again.")
    if labels:
        known = isinstance(labels, dict) and len(labels) <= limits.max_labels
        if not known or sorted(labels) != sorted(str(i) for i in range(len(labels))):
            raise _RefusedError(f"{file}: id2label does not name the outputs 0, 1, ... (at most {limits.max_labels}).")
        if not all(isinstance(n, str | int) and len(str(n)) <= 200 and str(n).isprintable() for n in labels.values()):
            raise _RefusedError(f"{file}: id2label has a name of more than 200 characters or not printable. Rename it.")


def _check_adapter_config(config: dict[str, Any]) -> None:
    """PEFT imports modules, compiles patterns and rewrites base weights at an adapter's word; LoRA needs none of it."""
    if config.get("peft_type") != "LORA":
        raise _RefusedError(f"{ADAPTER_CONFIG}: only adapters of the peft_type LORA are accepted.")
    if config.get("init_lora_weights", True) not in (True, False, None, "gaussian"):
        raise _RefusedError(f"{ADAPTER_CONFIG}: init_lora_weights changes the base model. Convert it to plain LoRA.")
    for field, value in config.items():
        if field.endswith("_config") and value:
            raise _RefusedError(f"{ADAPTER_CONFIG}: {field} is not accepted. Save the adapter without it.")
        texts = value if isinstance(value, list | dict) else [value]
        if field in _PATTERNS.split() and value and not all(re.fullmatch(r"[\w.-]{1,200}", str(t)) for t in texts):
            raise _RefusedError(f"{ADAPTER_CONFIG}: {field} is a pattern. Name the modules in a list.")


def _read_header(path: Path, limits: ModelLimits) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape, after checking that the tensors fill the file without gap, overlap or empty tensor."""
    size, largest, again = path.stat().st_size, limits.max_json_bytes, "Download or save the model again."
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(largest, size - 8):
            raise _RefusedError(f"{path.name} is no safetensors file, or its header has more than {largest >> 20} MiB.")
        header = _parse_json(path.name, file.read(length))
    header.pop("__metadata__", None)
    if not 1 <= len(header) <= limits.max_tensors:
        raise _RefusedError(f"{path.name} holds {len(header)} tensors; 1 to {limits.max_tensors} are accepted.")
    shapes: dict[str, tuple[int, ...]] = {}
    spans: list[tuple[int, int]] = []
    for tensor, entry in header.items():
        where = f"{path.name}: the tensor {shown(tensor)!r}"
        told = entry if isinstance(entry, dict) else {}
        dtype, shape, span = told.get("dtype"), told.get("shape"), told.get("data_offsets")
        if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
            raise _RefusedError(f"{where} has a data type that is none of {', '.join(_ITEM_BYTES)}. {again}")
        if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and 0 < n < 1 << 40 for n in shape):
            raise _RefusedError(f"{where} has a shape that no weight has: {shown(str(shape))}. {again}")
        if not isinstance(span, list) or len(span) != 2 or not all(type(n) is int for n in span):
            raise _RefusedError(f"{where} does not say where its numbers are. {again}")
        if span[1] - span[0] != math.prod(shape) * _ITEM_BYTES[dtype]:
            raise _RefusedError(f"{where} has other bytes than its shape {shape} needs. {again}")
        shapes[tensor] = tuple(shape)
        spans.append((span[0], span[1]))
    spans.sort()
    ends = [0, *(end for _, end in spans)]
    if [start for start, _ in spans] != ends[:-1] or ends[-1] != size - 8 - length:
        raise _RefusedError(f"{path.name} has {size} bytes, which its tensors do not fill exactly. {again}")
    return shapes
