"""Makers of what an attacker would give: ids, archives, pickles, configurations, tokenizers, weights and text.

None of them harms the machine that runs the tests: code would only write a marker file, and every size is told and
not there.
"""

from __future__ import annotations

import json
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

IDS = (
    "private",
    "text",
    "csv",
    "/etc",
    "../../etc/passwd",
    "owner/../name",
    "..",
    "owner/name/../../x",
    "~/model",
    "file:///etc/passwd",
    "https://example.org/owner/name",
    "owner/name; touch marker",
    "owner/na me",
    "owner\\name",
    "-owner/name",
    "owner/name\n",
    "owner/name\x00",
    "a" * 5000,
    "",
)
"""Texts that are no ``owner/name`` and no directory of a model. ``/etc`` is a directory, without a model."""

TEXTS = (
    "<script>document.title = 'run'</script>",
    '"><img src=x onerror="document.title = 1">',
    "${document.title = 'run'}",
    "{{ 7 * 7 }}{% for x in range(9) %}",
    '=HYPERLINK("http://example.org","x")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\x00\x1b[2J\r\n\u202egnp.exe",
    "a" * 100_000,
    "\ud800",  # half of a surrogate pair, which no encoding can write
    "\U000e0001" * 50 + "e\u0301" * 500,
)
"""Texts, labels and names that a page, a terminal, a spreadsheet or a tokenizer might trip over."""

HOSTILE_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "code of its own": {"auto_map": {"AutoModel": "evil.Model"}},
    "unknown family": {"model_type": "evil"},
    "family is a list": {"model_type": ["bert"]},
    "foreign kernel": {"_attn_implementation": "evil/kernel"},
    "foreign kernel, public spelling": {"attn_implementation": "evil/kernel@main:run"},
    "foreign experts kernel": {"experts_implementation": "evil/kernel"},
    "kernels by part": {"attn_implementation": {"": "evil/kernel"}},
    "quantized": {"quantization_config": {"quant_method": "evil"}},
    "weights elsewhere": {"transformers_weights": "../other/model.safetensors"},
    "overrides by layer": {"per_layer_config": {"0": {"intermediate_size": 10**9}}},
    "a part of its own": {"text_config": {"hidden_size": 10**9}},
    "parallel plan": {"base_model_tp_plan": {"layers": "evil"}},
    "many labels": {"num_labels": 10**8},
    "labels as text": {"num_labels": "100000000"},
    "many label names": {"id2label": {str(i): str(i) for i in range(6000)}},
    "labels with gaps": {"id2label": {"0": "a", "1000000000": "b"}},
    "label with control characters": {"id2label": {"0": "a\x1b[2J", "1": "b"}},
    "label too long": {"id2label": {"0": "a" * 5000, "1": "b"}},
    "many layers": {"num_hidden_layers": 20_000},
    "wide layers": {"hidden_size": 10**7},
    "wide layers under another name": {"d_ff": 10**7},
    "many heads": {"num_attention_heads": 10**6},
    "many words": {"vocab_size": 10**9},
    "long texts": {"max_position_embeddings": 10**9},
    "size as text": {"hidden_size": "16"},
    "size as list": {"num_hidden_layers": [1] * 9},
    "endless number": {"initializer_range": 1e308},
    "other number type": {"dtype": "load"},
    "architectures is no list": {"architectures": "Bert"},
    "foreign tokenizer": {"tokenizer_class": "TransfoXLTokenizer"},
    "field of Python": {"__class__": "x"},
    "deep": {"task_specific_params": {"a": {"b": {"c": {"d": {"e": 1}}}}}},
}
"""What is changed in a good config.json."""

BROKEN_JSON: Mapping[str, bytes] = {
    "empty": b"",
    "list": b"[1]",
    "no text": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "twice": b'{"model_type": "bert", "model_type": "evil"}',
    "long number": b'{"hidden_size": ' + b"9" * 5000 + b"}",
    "not a number": b'{"model_type": "bert", "hidden_size": NaN}',
    "too long": b'{"model_type": "bert", "x": "' + b"a" * (7 << 20) + b'"}',
}

HOSTILE_TOKENIZER_CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "code of its own": {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}},
    "foreign class": {"tokenizer_class": "os.system"},
    "other file": {"fast_tokenizer_files": ["../../etc/passwd"]},
    "other format": {"gguf_file": "/etc/passwd"},
    "arguments": {"init_inputs": ["/etc/passwd"]},
    "arguments of sentencepiece": {"sp_model_kwargs": {"model_file": "/etc/passwd"}},
}

HOSTILE_ADAPTERS: Mapping[str, Mapping[str, Any]] = {
    "module of its own": {"auto_mapping": {"parent_library": "os", "base_model_class": "system"}},
    "other module": {"megatron_config": {"x": 1}, "megatron_core": "evil"},
    "other kind": {"peft_type": "ADAPTION_PROMPT"},
    "pattern": {"target_modules": "(a+)+$"},
    "pattern of ranks": {"rank_pattern": {"(a+)+$": 4}},
    "huge rank": {"r": 10**9},
    "huge rank by module": {"rank_pattern": {"query": 10**9}},
    "layers repeated": {"layer_replication": [[0, 10**6]]},
    "base rewritten": {"init_lora_weights": "pissa"},
    "quantized start": {"loftq_config": {"loftq_bits": 4}},
}


def safetensors_bytes(header: Mapping[str, Any] | bytes, data: bytes = b"") -> bytes:
    """A safetensors file with this header, true or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _tensor(shape: list[Any], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def _twice() -> bytes:
    entry = json.dumps(_tensor([1], 0, 4))
    return f'{{"a": {entry}, "a": {entry}}}'.encode()


HOSTILE_WEIGHTS: Mapping[str, Callable[[], bytes]] = {
    "empty file": lambda: b"",
    "no header": lambda: b"\x00" * 8,
    "header longer than the file": lambda: struct.pack("<Q", 1 << 40) + b"{}",
    "header of negative length": lambda: b"\xff" * 8 + b"{}",
    "no JSON": lambda: safetensors_bytes(b"\x80\x04evil"),
    "no tensor": lambda: safetensors_bytes({}),
    "300,000 empty tensors": lambda: safetensors_bytes({f"t{i}": _tensor([0], 0, 0) for i in range(300_000)}),
    "30,000 tensors": lambda: safetensors_bytes({f"t{i}": _tensor([1], i, i + 1, "U8") for i in range(30_000)}),
    "one empty tensor": lambda: safetensors_bytes({"a": _tensor([0], 0, 0)}),
    "empty and endless": lambda: safetensors_bytes({"a": _tensor([0, 10**15], 0, 0)}),
    "endless as a fraction": lambda: safetensors_bytes({"a": _tensor([0, 1e15], 0, 0)}),
    "overflow to nothing": lambda: safetensors_bytes({"a": _tensor([2**32, 2**32], 0, 0)}),
    "negative": lambda: safetensors_bytes({"a": _tensor([-1, -4], 0, 16)}, b"\x00" * 16),
    "true as a size": lambda: safetensors_bytes({"a": _tensor([True], 0, 4)}, b"\x00" * 4),
    "too many dimensions": lambda: safetensors_bytes({"a": _tensor([1] * 1000, 0, 4)}, b"\x00" * 4),
    "more than the file": lambda: safetensors_bytes({"a": _tensor([1000], 0, 4000)}, b"\x00" * 4),
    "less than the file": lambda: safetensors_bytes({"a": _tensor([1], 0, 4)}, b"\x00" * 400),
    "gap": lambda: safetensors_bytes({"a": _tensor([1], 4, 8)}, b"\x00" * 8),
    "overlap": lambda: safetensors_bytes({"a": _tensor([2], 0, 8), "b": _tensor([2], 4, 12)}, b"\x00" * 12),
    "unknown type": lambda: safetensors_bytes({"a": _tensor([1], 0, 4, "PICKLE")}, b"\x00" * 4),
    "type is a list": lambda: safetensors_bytes(
        {"a": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}}, b"\x00" * 4
    ),
    "no object": lambda: safetensors_bytes({"a": 1}),
    "same name twice": lambda: safetensors_bytes(_twice(), b"\x00" * 4),
}


class _WritesMarker:
    """Runs code when it is read by pickle."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def malicious_pickle(marker: Path) -> bytes:
    """Weights as torch used to save them, that write `marker` when they are read."""
    return pickle.dumps({"weight": _WritesMarker(marker)})


def code_that_marks(marker: Path) -> str:
    """A Python file that writes `marker` when it is imported."""
    return f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nclass Model: pass\nclass Tokenizer: pass\n"


def change_json(path: Path, change: Mapping[str, Any]) -> None:
    """Change fields of a JSON file; what does not exist yet is made."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(content | dict(change)), encoding="utf-8")


def write_zip(path: Path, files: Mapping[str, bytes], top: str = "") -> Path:
    """An ordinary zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(top + name, content)
    return path


def write_bomb(path: Path, num_bytes: int) -> Path:
    """A zip whose weights are `num_bytes` zeros, a thousandth of that when packed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("tokenizer.json", "{}")
        with archive.open("model.safetensors", "w") as file:
            for _ in range(num_bytes >> 20):
                file.write(bytes(1 << 20))
    return path


def write_liar(path: Path) -> Path:
    """A zip that tells of every file that it unpacks to 4 bytes."""
    write_zip(path, {"config.json": b"{}  ", "model.safetensors": bytes(1 << 20), "tokenizer.json": b"{}  "})
    content, at = bytearray(path.read_bytes()), -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        content[at + 24 : at + 28] = struct.pack("<I", 4)
    path.write_bytes(bytes(content))
    return path


def write_link(path: Path, target: str = "/etc/passwd") -> Path:
    """A zip whose config.json is a symbolic link."""
    info = zipfile.ZipInfo("config.json")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, target)
        archive.writestr("model.safetensors", b"")
    return path


def write_locked(path: Path) -> Path:
    """A zip that says of its files that they need a password."""
    write_zip(path, {"config.json": b"{}", "model.safetensors": b"x", "tokenizer.json": b"{}"})
    content, at = bytearray(path.read_bytes()), -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        content[at + 8] |= 1
    path.write_bytes(bytes(content))
    return path


def write_damaged(path: Path) -> Path:
    """A zip one of whose files has other bytes than its checksum says."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            archive.writestr(name, "a whole sentence")
    path.write_bytes(path.read_bytes().replace(b"a whole sentence", b"another sentence", 1))
    return path


HOSTILE_NAMES = (
    "/etc/cron.d/model.safetensors",
    "../model.safetensors",
    "model/../../model.safetensors",
    "..\\model.safetensors",
    "C:\\model.safetensors",
    "\\\\server\\share\\model.safetensors",
    "model.safetensors\x00.txt",
    "a\nb/model.safetensors",
    "",
)


def change_tokenizer(directory: Path, **change: Any) -> None:
    change_json(directory / "tokenizer.json", change)


def add_regex_bomb(directory: Path) -> None:
    """Split text by a pattern that tries every way to cut a run of one letter."""
    split = {
        "type": "Split",
        "pattern": {"Regex": "(a+)+$|(a|aa)+$|(.*a){25}b"},
        "behavior": "Isolated",
        "invert": False,
    }
    change_tokenizer(directory, pre_tokenizer=split)


def add_words(directory: Path, num_words: int) -> None:
    """Words beside the vocabulary, each of which transformers registers one by one."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    change_tokenizer(directory, added_tokens=[{"id": 50 + i, "content": f"word {i}"} | flags for i in range(num_words)])
