"""A merge that is taken away: its card tells the truth, it repeats to the bit, and others can load it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from plain_transformers import answer_elsewhere
from small_demo import shrink
from test_cli import refuse, succeed
from test_export import make_recipe
from tiny_models import tiny_bert, write_experts, write_model

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.batches import make_batches
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import MergeError, StoppedError
from fusion_ui.evaluation.candidates import checkpoint_candidate
from fusion_ui.merging.recipe import parse_recipe, read_recipe
from fusion_ui.progress import Progress
from fusion_ui.projects.project import Project, read_split
from fusion_ui.results.card import model_card, plain
from fusion_ui.results.licences import Terms, read_terms
from fusion_ui.settings import Settings
from fusion_ui.sources.archive import zip_directory
from fusion_ui.sources.files import sha256_of
from fusion_ui.sources.hub_access import BY_TOKEN
from fusion_ui.takeaway.exporting import Scoring, exported_candidate, take_away
from fusion_ui.takeaway.packing import pack
from fusion_ui.tasks.metrics import wilson_interval
from fusion_ui.workspace import Workspace

ROOT = Path(__file__).parent.parent
LABELS = (("bad", "good"), ("spam", "ham"))


@pytest.fixture(scope="module")
def small(demo: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return shrink(demo, tmp_path_factory.mktemp("small"))


@pytest.fixture
def recipe(small: Project, tmp_path: Path) -> Path:
    experts = [
        {"name": e.name, "model": str(e.model), "calibration": {"data": str(d.calibrate)}}
        for e, d in zip(small.experts[:2], small.domains[:2], strict=True)
    ]
    value = {"method": "regmean", "experts": experts, "statistics": {"num_examples": 32}}
    (tmp_path / "recipe.json").write_text(json.dumps(value))
    return tmp_path / "recipe.json"


def test_the_card_has_the_numbers_of_evaluate_and_the_merge_repeats_to_the_bit(
    recipe: Path, small: Project, workspace: Workspace, tmp_path: Path
):
    out, again = tmp_path / "merged", tmp_path / "again"
    data = [f"--data={d.name}={d.report}" for d in small.domains[:3]]
    succeed("merge", recipe, "--out", out, *data)
    evaluated = json.loads(succeed("evaluate", out, *data, "--json"))["scores"]
    card = ModelCard.load(out / "README.md")
    results = card.data.eval_results
    assert results is not None and [r.metric_value for r in results] == [s["value"] for s in evaluated]
    assert [r.dataset_split for r in results] == [s["split"] for s in evaluated]
    rows = [line.split(" | ") for line in card.text.splitlines() if f" | {evaluated[0]['split']} | " in line]
    own = [json.loads(succeed("evaluate", e.model, one, "--json"))["scores"][0]
           for e, one in zip(small.experts[:2], data[:2], strict=True)]  # fmt: skip
    for row, score in zip(rows, evaluated, strict=True):
        low, high = wilson_interval(score["num_correct"], score["num_examples"])
        assert row[1] == f"{100 * score['value']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        assert row[4] == str(score["num_examples"])
    assert [row[2].split(" ")[0] for row in rows] == [f"{100 * score['value']:.1f}" for score in own] + ["–"]
    assert str(ROOT) not in card.content and str(small.experts[0].model) not in card.content
    assert (card.data.license, card.data.pipeline_tag) == ("apache-2.0", "text-classification")
    # In another process, without numbers: the same weights to the bit.
    succeed("merge", out / "recipe.json", "--out", again)
    assert sha256_of(again / "model.safetensors") == sha256_of(out / "model.safetensors")
    assert "Not evaluated." in (again / "README.md").read_text()

    texts = ["A wonderful, moving film.", "The battery died after two days.", "It is a phone."]
    plan = workspace.plan(read_recipe(recipe))
    model = exported_candidate(plan, out, {}).load(Progress())  # type: ignore[attr-defined]
    answers = answer_elsewhere(out, texts)
    evaluation = workspace.evaluation_of([read_split(small.domains[0], "report")], plan)
    batches = make_batches(evaluation.tokenizer.encode(tuple(texts), ()), range(3), evaluation.tokenizer.pad_id, 768)
    for batch in batches:
        for index, row in zip(batch.indices, model(batch).softmax(-1), strict=True):
            shown = dict(zip(plan.all_labels, row.tolist(), strict=True))
            assert answers[index] == pytest.approx(shown, abs=1e-5)


HOSTILE = "<script>x</script> ${y} {{z}} | **b** `c`"


@pytest.fixture
def planned(settings: Settings, tmp_path: Path) -> Callable[..., Any]:
    workspace = Workspace(settings)

    def plan(method: str = "simple_mean", **change: Any) -> tuple[Workspace, Any]:
        recipe = make_recipe(write_experts(tmp_path / "experts"), tmp_path, method, **change)
        entries = tuple(e.model_copy(update={"name": f"{HOSTILE} {i}"}) for i, e in enumerate(recipe.experts))
        return workspace, workspace.plan(recipe.model_copy(update={"experts": entries}))

    return plan


def test_a_card_shows_texts_from_people_as_text_and_no_path(planned: Callable[..., Any], tmp_path: Path):
    _, plan = planned()
    card = ModelCard(model_card(plan))
    assert "<script" not in card.content and "\\*\\*b" in card.text and str(tmp_path) not in card.content
    assert "{count}" not in card.content and "\\{\\{z" in card.text
    assert card.content.count("states no licence: ask its author") == 2 and card.data.base_model is None
    assert plain("a\nb") == "a b" and len(plain("x" * 500)) == 80


def test_licences_are_those_of_the_experts_cards(planned: Callable[..., Any], tmp_path: Path):
    _, plan = planned()
    places = [tmp_path / "experts" / f"expert{i}" / "README.md" for i in range(2)]
    places[0].write_text("---\nlicense: mit\n---\n# A\n")
    places[1].write_text("---\nlicense: other\nlicense_name: my-own\n---\n")
    card = ModelCard(model_card(plan))
    assert "licences differ: mit, my-own" in card.content and card.data.license is None
    places[1].write_text("---\nlicense: mit\n---\n")
    assert ModelCard(model_card(plan)).data.license == "mit"
    places[1].write_text("---\nlicense: [\n---\n")
    assert "not readable in its card" in model_card(plan) and "cannot be read: look up its licence" in model_card(plan)


def test_a_card_says_who_accepted_a_gated_models_terms_and_what_an_adapters_base_states(
    planned: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _, plan = planned()
    for i, entry in enumerate(("extra_gated_prompt: Sign here", "tags: [x]")):
        (tmp_path / "experts" / f"expert{i}" / "README.md").write_text(f"---\nlicense: mit\n{entry}\n---\n")
    card = ModelCard(model_card(plan))
    sentence = "is gated: its terms were accepted by whoever downloaded it"
    assert card.content.count(sentence) == 1 and card.data.license == "mit"

    (tmp_path / "base.md").write_text("---\nlicense: <b>gpl</b>\n---\n")
    found = {"owner/base": tmp_path / "base.md"}
    monkeypatch.setattr("fusion_ui.results.licences.find_cached_card", lambda name, commit: found.get(name))
    commit = "0" * 40
    plan = replace(plan, experts=tuple(replace(e, base=f"owner/base@{commit}") for e in plan.experts))
    card = ModelCard(model_card(plan))
    assert "The adapters' base model owner/base stands under the licence &lt;b&gt;gpl&lt;/b&gt;." in card.content
    assert card.data.license is None, "the base does not stand under the adapters' licence"
    (tmp_path / "base.md").write_text("---\nlicense: mit\n---\n")
    assert ModelCard(model_card(plan)).data.license == "mit"
    found.clear()
    assert "base model owner/base states no licence that could be read here" in model_card(plan)

    fetched = tmp_path / BY_TOKEN / "0f" / "snapshot"
    fetched.parent.mkdir(parents=True)
    (tmp_path / "experts" / "expert1").rename(fetched)
    assert read_terms(Checkpoint("b", fetched, "owner/b", commit)) == Terms("mit", is_gated=True)


def test_the_base_that_every_adapter_was_folded_into_is_named(planned: Callable[..., Any]):
    _, plan = planned()
    folded = [replace(expert, base=f"owner/base@{'a' * 40}") for expert in plan.experts]
    named = f"Base model: [owner/base](https://huggingface.co/owner/base/tree/{'a' * 40}) at `{'a' * 40}`, into which"
    assert named in model_card(replace(plan, experts=tuple(folded)))
    folded[0] = replace(folded[0], base=f"owner/other@{'b' * 40}")
    assert "Base model: not named" in model_card(replace(plan, experts=tuple(folded)))


def test_the_card_of_hub_models_names_them_with_their_commits(hub: Any, settings: Settings, tmp_path: Path):
    commits = []
    for i in range(2):
        folder = write_model(tmp_path / f"m{i}", tiny_bert(i))
        (folder / "README.md").write_text(f"---\nlicense: {'mit' if i else 'apache-2.0'}\n---\n")
        commits.append(hub.add_model(f"owner/m{i}", {p.name: p.read_bytes() for p in folder.iterdir()}))
    models = [{"name": f"e{i}", "model": f"owner/m{i}"} for i in range(2)]
    workspace = Workspace(settings)
    plan = workspace.plan(parse_recipe({"method": "simple_mean", "experts": models}))
    workspace.export(plan, tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.base_model == ["owner/m0", "owner/m1"] and card.data.to_dict()["base_model_relation"] == "merge"
    assert all(commit in card.text for commit in commits) and "differ: apache-2.0, mit" in card.text
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert [(e["model"], e["revision"]) for e in recipe["experts"]] == [
        ("owner/m0", commits[0]),
        ("owner/m1", commits[1]),
    ]


def test_a_merge_with_heads_apart_is_scored_by_each_domains_own(settings: Settings, tmp_path: Path):
    models = [write_model(tmp_path / f"m{i}", tiny_bert(i, labels=labels)) for i, labels in enumerate(LABELS)]
    workspace = Workspace(settings)
    plan = workspace.plan(make_recipe(models, tmp_path, "simple_mean", heads="own"))
    domains = tuple(
        Domain(f"d{i}", f"d{i}", "report", ("w1 w2", "w3", "w4 w5"), (*labels, labels[0]))
        for i, labels in enumerate(LABELS)
    )
    out = tmp_path / "out"
    take_away(workspace, plan, out, Scoring(domains, {"d0": "m0", "d1": "m1"}))
    results = ModelCard.load(out / "README.md").data.eval_results
    assert results is not None
    for i, result in enumerate(results):
        evaluation = workspace.evaluation([domains[i]], plan.experts[i])
        alone = checkpoint_candidate("x", "x", Checkpoint("x", out / f"m{i}", ""))
        *_, last = workspace.evaluate([alone], evaluation, [])
        assert result.metric_value == last.scores[0].value


def test_a_zip_holds_the_export_and_leaves_nothing_else(planned: Callable[..., Any], tmp_path: Path):
    workspace, plan = planned()
    out, room = tmp_path / "away" / "merged.zip", tmp_path / "room"
    pack(workspace, plan, out, Scoring(), room)
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "unpacked")
    workspace.export(plan, tmp_path / "plain")
    found = {p.name: p.read_bytes() for p in (tmp_path / "unpacked" / "merged").iterdir()}
    written = {p.name: p.read_bytes() for p in (tmp_path / "plain").iterdir()}
    assert found.keys() == written.keys()
    assert all(found[name] == written[name] for name in found if name != "merge_report.json")  # which has seconds
    assert list(room.iterdir()) == [] and list(out.parent.iterdir()) == [out]


def test_what_is_too_large_or_finds_no_room_is_said_and_leaves_nothing(
    planned: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    workspace, plan = planned()
    out, room = tmp_path / "away" / "merged.zip", tmp_path / "room"

    def refused(words: str) -> None:
        with pytest.raises(MergeError, match=words):
            pack(workspace, plan, out, Scoring(), room)
        assert not out.exists() and (not room.exists() or list(room.iterdir()) == [])

    with monkeypatch.context() as change:
        change.setattr(workspace, "settings", workspace.settings.model_copy(update={"max_export_bytes": 1000}))
        refused("the most that is handed out")
    with monkeypatch.context() as change:
        change.setattr("fusion_ui.takeaway.packing.free_bytes", lambda folder: 65 << 20 >> 10)
        refused("are free")

    def fill(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as change:
        change.setattr("fusion_ui.takeaway.packing.zip_directory", fill)
        refused("No space left on device")
    progress = Progress(lambda fraction, message: progress.stop() if "Packing" in message else None)
    with pytest.raises(StoppedError):
        pack(workspace, plan, out, Scoring(), room, progress)
    assert not out.exists() and list(room.iterdir()) == [] and list(out.parent.iterdir()) == []


def test_zips_of_the_same_files_are_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "x.txt").write_text("x")
        zip_directory(tmp_path / name, tmp_path / name / "out" / "same.zip", Progress())
    first, second = (tmp_path / name / "out" / "same.zip" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_the_command_line_pushes_and_writes_recipes(hub: Any, recipe: Path, tmp_path: Path):
    out = tmp_path / "merged"
    succeed("merge", recipe, "--out", out, "--set", "alpha=0.5")
    hub.writers["hf_ofTheVisitor"] = "visitor"
    (tmp_path / "token").write_text("hf_ofTheVisitor\n")
    environment = hub.environment(tmp_path / "home")
    command = [sys.executable, "-m", "fusion_ui", "push", str(out), "visitor/merge"]
    where: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 300, "cwd": ROOT}
    done = subprocess.run([*command, "--token-file", str(tmp_path / "token")], env=os.environ | environment, **where)
    assert done.returncode == 0 and "visitor/merge (private)" in done.stdout, done.stderr
    assert {r.token for r in hub.requests if "visitor" in r.path} == {"hf_ofTheVisitor"}
    given = os.environ | environment | {"HF_TOKEN": "hf_unknown"}
    done = subprocess.run([*command, "--public"], env=given, **where)
    assert done.returncode == 2 and "does not accept the given token" in done.stderr and "hf_unknown" not in done.stderr
    assert "Give a token" in refuse("push", out, "visitor/merge", HF_TOKEN="")
    portable = json.loads(succeed("recipe", out / "recipe.json"))
    assert portable["experts"][0]["calibration"]["data"] == "calibration/tweets.csv" and str(tmp_path) not in str(
        portable
    )
    written = tmp_path / "mergekit.yml"
    succeed("recipe", recipe_of(recipe, "simple_mean"), "--mergekit", "--out", written)
    assert yaml.safe_load(written.read_text())["merge_method"] == "linear"
    assert "mergekit 0.1.5 does not have RegMean" in refuse("recipe", out / "recipe.json", "--mergekit")
    assert "exists already" in refuse("recipe", out / "recipe.json", "--out", written)


def recipe_of(path: Path, method: str) -> Path:
    value = json.loads(path.read_text()) | {"method": method, "parameters": {}}
    other = path.with_name(f"{method}.json")
    other.write_text(json.dumps(value))
    return other
