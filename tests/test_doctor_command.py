"""The command that examines a merge, and an expert that it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_bert, write_data, write_model

from fusion_ui.cli import main
from fusion_ui.settings import Settings


@pytest.fixture
def recipe_file(tmp_path: Path, monkeypatch) -> Callable[..., Path]:
    """Writes a recipe of two tiny BERTs; the command line finds an empty cache."""
    monkeypatch.setenv("FUSION_UI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("fusion_ui.cli.arguments.read_settings", lambda: Settings(cache_dir=tmp_path / "cache"))

    def write(models: Sequence[Path], **change: Any) -> Path:
        data = write_data(tmp_path / "data.csv", 3)
        experts = [{"name": m.name, "model": str(m), "calibration": {"data": str(data)}} for m in models]
        (tmp_path / "recipe.json").write_text(json.dumps({"method": "regmean", "experts": experts} | change))
        return tmp_path / "recipe.json"

    return write


def test_the_command_prints_a_table_and_the_sentences(recipe_file, tmp_path: Path, capsys):
    path = recipe_file([write_model(tmp_path / f"e{i}", tiny_bert(i, hidden_size=32)) for i in range(2)])
    with pytest.raises(SystemExit) as ended:
        main(["doctor", str(path), "--set", "alpha=1"])
    assert not ended.value.code
    table, sentences = capsys.readouterr().out.split("other parameters")
    lines = table.splitlines()
    assert lines[0].split() == [
        "path",
        "rows/width",
        "condition",
        "scaled",
        "smallest",
        "dead",
        "cut",
        "moved",
        "cosine",
        "apart",
        "opposed",
    ]
    assert len(lines) == 1 + 8 + 1 and len({len(line) for line in lines[:-1]}) == 1
    assert lines[1].split()[:3] == ["bert.encoder.layer.0.attention.self.query", "eigen", "30/32"]
    assert "- bert.pooler.dense.weight" in sentences and "saw 3 rows for 32 features (e0, e1)" in sentences
    assert "directions were cut off at alpha 1" in sentences
    with pytest.raises(SystemExit):
        main(["doctor", str(path), "--json"])
    reports = json.loads(capsys.readouterr().out)
    query = next(report for report in reports if report["kind"] == "query" and len(report["shape"]) == 2)
    assert query["alpha"] == 0.9 and query["conditioning"]["smallest"] >= 0.1 - 1e-6


@pytest.mark.parametrize("command", [["doctor"], ["merge", "--out", "out"]], ids=["doctor", "merge"])
def test_an_expert_with_nan_is_refused_by_its_name_and_tensor(recipe_file, tmp_path: Path, capsys, command: list[str]):
    name = "bert.encoder.layer.0.output.dense.weight"
    broken = tiny_bert(1).state_dict()[name].clone()
    broken[3, 5] = torch.nan
    models = [write_model(tmp_path / "good", tiny_bert(0)), write_model(tmp_path / "bad", tiny_bert(1), {name: broken})]
    arguments = [str(tmp_path / "out") if text == "out" else text for text in command]
    with pytest.raises(SystemExit) as ended:
        main([arguments[0], str(recipe_file(models)), *arguments[1:]])
    assert ended.value.code == 2 and not (tmp_path / "out").exists()
    message = capsys.readouterr().err
    assert f"bad cannot be merged: its tensor {name} has entries that are not finite numbers" in message
