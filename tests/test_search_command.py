"""The command that goes over the values of a parameter, or seeks the best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_data, write_experts

from fusion_ui.cli import main
from fusion_ui.settings import Settings


@pytest.fixture
def command(tmp_path: Path, monkeypatch, capsys) -> Any:
    """Runs the command line over two tiny experts: exit code, output, errors."""
    found = Settings(cache_dir=tmp_path / "cache")
    monkeypatch.setattr("fusion_ui.cli.arguments.read_settings", lambda: found)
    data = write_data(tmp_path / "data.csv")
    models = write_experts(tmp_path / "experts", 2)
    experts = [{"name": m.name, "model": str(m), "calibration": {"data": str(data)}} for m in models]
    (tmp_path / "recipe.json").write_text(json.dumps({"method": "regmean", "experts": experts}))
    for name, seed in (("select", 1), ("report", 2)):
        write_data(tmp_path / f"{name}.csv", 60, seed)

    def call(*arguments: str) -> tuple[int, str, str]:
        texts = [text.replace("@", f"{tmp_path}/") for text in arguments]
        with pytest.raises(SystemExit) as ended:
            main(["sweep", str(tmp_path / "recipe.json"), *texts])
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, " ".join(printed.err.split())

    return call


def test_the_command_finds_the_best_and_scores_it_on_what_was_kept_back(command):
    arguments = ("--best", "--over", "alpha=0,0.5,1", "--data", "news=@select.csv", "--report", "news=@report.csv")
    code, printed, _ = command(*arguments)
    lines = printed.splitlines()
    assert code == 0 and lines[0].startswith("alpha 0 ") and lines[0].endswith("after 50 sentences")
    *_, best, answers, kept, domain = lines
    assert best.startswith("best alpha: ") and "no clear difference" in best
    assert answers == "180 answers needed, 180 for every value"
    assert kept.startswith("on the sentences kept back [") and domain.split()[0] == "news" and "60 of report" in domain
    _, printed, _ = command(*arguments, "--json")
    found = json.loads(printed)
    assert [point["alpha"] for point in found["points"]] == [0, 0.5, 1]
    assert f"best alpha: {found['best']['alpha']:g}, mean {found['best']['mean']:.1%}" in best
    assert found["report"]["scores"][0]["num_examples"] == 60


def test_without_best_the_command_goes_over_every_value(command):
    code, printed, _ = command("--over", "alpha", "--data", "news=@select.csv", "--json")
    assert code == 0
    assert [point["alpha"] for point in json.loads(printed)["points"]] == [round(0.1 * i, 1) for i in range(11)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--report", "news=@report.csv"], "--report scores the value that --best finds"),
        (["--alpha", "0", "--over", "alpha=1"], "--alpha and --over both say what to go over"),
        (["--over", "beta=1"], "RegMean has no parameter 'beta' that is a number. It has: 'alpha'."),
        (["--alpha", "0,2"], "must be a number in [0, 1]. Got 2.0 instead."),
        (["--best", "--report", "tweets=@select.csv"], "given to report on tweets are those of news"),
    ],
)
def test_what_cannot_be_swept_is_said_in_one_sentence(command, arguments: list[str], words: str):
    code, _, message = command("--data", "news=@select.csv", *arguments)
    assert code == 2 and words in message
