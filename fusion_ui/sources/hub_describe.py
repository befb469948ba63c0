"""What a hub model is, from its file list, configs and safetensors headers, before anything large is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusion_ui.errors import SourceError
from fusion_ui.sources.hub_access import (
    check_repository_id,
    check_revision,
    check_token,
    make_api,
    private_cache,
)
from fusion_ui.sources.hub_conversion import find_model
from fusion_ui.sources.hub_download import find_cached_model
from fusion_ui.sources.hub_errors import HubUnreachableError, ask_hub

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER_WEIGHTS, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
MAX_JSON_BYTES = 16 << 20
MAX_SHARDS, MAX_TENSORS = 256, 50_000

ReadJson = Callable[[str], Any]
ReadHeader = Callable[[str], Any]


@dataclass(frozen=True)
class RemoteModel:
    """A model on the hub, or in the cache where the hub cannot be reached.

    Attributes:
        repository: ``owner/name``.
        commit: the commit that all else was read from.
        config: ``config.json``; empty where there is none.
        tensors: name -> what safetensors calls its type ("F32"), and its shape.
        file_sizes: path -> bytes, of every file.
        weight_bytes: size of the files that hold `tensors`.
        adapter_config: ``adapter_config.json`` of an adapter; empty otherwise.
        has_safetensors: False where the repository has weights in other formats alone, which are not read.
        is_gated: its licence must be accepted on the hub first.
    """

    repository: str
    commit: str
    config: Mapping[str, Any] = field(repr=False)
    tensors: Mapping[str, tuple[str, tuple[int, ...]]] = field(repr=False)
    file_sizes: Mapping[str, int] = field(repr=False)
    weight_bytes: int
    adapter_config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    has_safetensors: bool = True
    is_gated: bool = False

    @property
    def is_adapter(self) -> bool:
        """True where the repository holds a PEFT adapter, whose tensors `tensors` then lists."""
        return bool(self.adapter_config)


def describe_model(repository: str, revision: str | None = None, token: str | None = None) -> RemoteModel:
    """Read a model's configs and the headers of its safetensors files: some hundred kilobytes, whatever its size.

    Args:
        revision: branch, tag or commit; None: the main branch.
        token: the visitor's own, for gated and private models.

    Raises:
        SourceError: the name is not ``owner/name``, or a config or header cannot be read.
        SourceUnavailableError: the model does not exist, is private or gated, or the hub cannot be reached and the
            cache does not have it.
    """
    check_repository_id(repository)
    check_revision(revision)
    try:
        return _describe_remote(repository, revision, token)
    except HubUnreachableError:
        directory = find_cached_model(repository, revision, token)
        if directory is None:
            raise
    return _describe_local(repository, directory)


def _describe_remote(repository: str, revision: str | None, token: str | None) -> RemoteModel:
    api, has_token, what = make_api(token), check_token(token) is not False, f"model {repository}"
    info, _ = find_model(api, repository, revision, has_token)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    cache_dir = private_cache(token) if info.gated or info.private else None

    def read_json(name: str) -> Any:
        path = ask_hub(
            what, has_token, lambda: api.hf_hub_download(repository, name, revision=info.sha, cache_dir=cache_dir)
        )
        return _parse_json(Path(path), repository)

    def read_header(name: str) -> Any:
        return ask_hub(
            what, has_token, lambda: api.parse_safetensors_file_metadata(repository, name, revision=info.sha)
        )

    return _describe(repository, info.sha, sizes, bool(info.gated), read_json, read_header)


def _describe_local(repository: str, directory: Path) -> RemoteModel:
    from huggingface_hub import parse_local_safetensors_file_metadata

    def read_header(name: str) -> Any:
        return ask_hub(f"model {repository}", False, lambda: parse_local_safetensors_file_metadata(directory / name))

    files = [path for path in directory.rglob("*") if path.is_file()]
    sizes = {path.relative_to(directory).as_posix(): path.stat().st_size for path in files}

    def read_json(name: str) -> Any:
        return _parse_json(directory / name, repository)

    return _describe(repository, directory.name, sizes, False, read_json, read_header)


def _describe(
    repository: str,
    commit: str,
    sizes: dict[str, int],
    is_gated: bool,
    read_json: ReadJson,
    read_header: ReadHeader,
) -> RemoteModel:
    large = [name for name in ("config.json", ADAPTER_CONFIG, INDEX) if sizes.get(name, 0) > MAX_JSON_BYTES]
    if large:
        raise SourceError(f"{large[0]} of the model {repository} is too large to be a config. Choose another model.")
    adapter = read_json(ADAPTER_CONFIG) if {ADAPTER_WEIGHTS, ADAPTER_CONFIG} <= sizes.keys() else {}
    config = read_json("config.json") if "config.json" in sizes else {}
    shards = _weight_files(repository, sizes, bool(adapter), read_json)
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for shard in shards:
        for name, tensor in read_header(shard).tensors.items():
            tensors[name] = (str(tensor.dtype), tuple(int(size) for size in tensor.shape))
        if len(tensors) > MAX_TENSORS:
            raise SourceError(f"The model {repository} lists more than {MAX_TENSORS} tensors. Choose another model.")
    return RemoteModel(
        repository,
        commit,
        config,
        tensors,
        sizes,
        weight_bytes=sum(sizes[shard] for shard in shards),
        adapter_config=adapter,
        has_safetensors=any(name.endswith(".safetensors") and "/" not in name for name in sizes),
        is_gated=is_gated,
    )


def _weight_files(repository: str, sizes: dict[str, int], is_adapter: bool, read_json: ReadJson) -> Sequence[str]:
    """The safetensors files that are read, in the order in which a local directory is searched."""
    if is_adapter:
        return [ADAPTER_WEIGHTS]
    if WEIGHTS in sizes:
        return [WEIGHTS]
    if INDEX not in sizes:
        return []
    weight_map = read_json(INDEX).get("weight_map")
    shards = sorted(set(map(str, weight_map.values()))) if isinstance(weight_map, dict) else []
    strange = [shard for shard in shards if shard not in sizes]  # also paths that would leave the repository
    if strange or not shards or len(shards) > MAX_SHARDS:
        raise SourceError(
            f"{INDEX} of the model {repository} does not fit its files"
            + (f": {strange[0][:80]!r} is not there" if strange else f": it names {len(shards)} files")
            + ". Choose another model or revision."
        )
    return shards


def _parse_json(path: Path, repository: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SourceError(f"{path.name} of the model {repository} is not a JSON object. Choose another model.")
    return value
