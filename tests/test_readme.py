"""What the README says is what the code does."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import SpaceCard

from fusion_ui.methods.describe import methods_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_methods_is_the_generated_one():
    assert methods_table() in README, "python -m fusion_ui methods --markdown prints the table"


def test_the_space_can_read_its_front_matter():
    card = SpaceCard(README).data
    assert (card.sdk, card.app_port, card.license) == ("docker", 7860, "apache-2.0")


def test_every_file_the_readme_names_exists():
    for name in ("assets/screenshot.png", "assets/demo/train.py", "benchmarks", "LICENSE", "Makefile", "fusion_ui"):
        assert name in README and (ROOT / name).exists(), name
