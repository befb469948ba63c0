"""mergekit in an environment of its own, made at the first run in the cache directory."""

from __future__ import annotations

import subprocess
import venv
from importlib.metadata import version
from pathlib import Path

from fusion_ui.settings import read_settings

PEER = "mergekit==0.1.5"
SAME_VERSIONS = ("torch", "safetensors", "transformers")
"""Packages of which the peer gets the versions used here."""


def install_peer() -> Path:
    """The folder with the programs of the peer's environment, made if it is missing."""
    folder = read_settings().cache_dir / "benchmarks" / PEER.replace("==", "-")
    if not (folder / "bin" / "mergekit-yaml").is_file():
        print(f"installing {PEER} in {folder}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        pins = [f"{name}=={version(name)}" for name in SAME_VERSIONS]
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", PEER, *pins], check=True)
    return folder / "bin"
