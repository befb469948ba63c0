"""What a visitor takes from the page: in a real browser, and the handlers behind it with a hub on this machine."""

from __future__ import annotations

import json
import shlex
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from hub_server import HubServer
from live_page import open_tab, wait_for_words, wait_until, wait_until_up_to_date
from plain_transformers import answer_elsewhere
from playwright.sync_api import Page
from test_cli import run
from test_page import address, browser, page, small  # noqa: F401 - fixtures

from fusion_ui.domains.batches import make_batches
from fusion_ui.errors import FusionError, RecipeError
from fusion_ui.merging.recipe import MergeRecipe, parse_recipe, read_recipe
from fusion_ui.progress import Progress
from fusion_ui.projects.origins import name_origins
from fusion_ui.projects.project import Project
from fusion_ui.settings import read_settings
from fusion_ui.sources.files import sha256_of
from fusion_ui.ui.controls import DOWNLOAD_CSV
from fusion_ui.ui.handing_out import handing_out
from fusion_ui.ui.handlers import Handlers
from fusion_ui.ui.panels.takeaway import figure_choices, write_command
from fusion_ui.ui.recipes import apply_recipe
from fusion_ui.ui.request import FuseRequest, PageRule, default_request
from fusion_ui.ui.takeaway import list_merges
from fusion_ui.ui.taking_away import TakingAway
from fusion_ui.workspace import Workspace

TEXT = "A wonderful, moving film."


def save(page: Page, button: str, folder: Path) -> Path:  # noqa: F811
    with page.expect_download(timeout=60_000) as download:
        page.locator(button).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def open_recipe(page: Page, path: Path) -> None:  # noqa: F811
    with page.expect_file_chooser() as chooser:
        page.locator("#open-recipe").click()
    chooser.value.set_files(path)


def own_cache(folder: Path) -> Path:
    """A cache in which the demo is ready and nothing was measured: sums depend on how many threads computed them."""
    folder.mkdir()
    for name in ("demo", "downloads"):
        (folder / name).symlink_to(read_settings().cache_dir / name)
    return folder


def test_the_zip_holds_the_model_that_the_page_showed_and_its_recipe_makes_it_again(
    page: Page,  # noqa: F811
    workspace: Workspace,
    tmp_path: Path,
):
    page.locator("#make-zip").click()
    page.wait_for_selector("#download-zip", timeout=180_000)
    found = save(page, "#download-zip", tmp_path)
    with zipfile.ZipFile(found) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    model = tmp_path / found.stem
    assert {"model.safetensors", "config.json", "tokenizer.json", "recipe.json", "merge_report.json", "README.md"} <= {
        file.name for file in model.iterdir()
    }
    plan = workspace.plan(read_recipe(model / "recipe.json"))
    evaluation = workspace.evaluation([], plan.experts[0])
    (batch,) = make_batches(evaluation.tokenizer.encode((TEXT,), ()), range(1), evaluation.tokenizer.pad_id, 768)
    (row,) = workspace.candidate(plan).load(Progress())(batch).softmax(-1)  # type: ignore[attr-defined]
    assert answer_elsewhere(model, [TEXT])[0] == pytest.approx(
        dict(zip(plan.all_labels, row.tolist(), strict=True)), abs=1e-5
    )
    cache = own_cache(tmp_path / "cache")
    for again in ("again", "once more"):  # each in a process of its own, the first of which measures anew
        replayed = run("merge", model / "recipe.json", "--out", tmp_path / again, FUSION_UI_CACHE_DIR=str(cache))
        assert replayed.returncode == 0, replayed.stderr
        assert sha256_of(tmp_path / again / "model.safetensors") == sha256_of(model / "model.safetensors")
    # The numbers on the card are the page's own.
    shown = page.evaluate(
        """() => document.querySelector('#accuracy .live-plot').data.find(t => t.name.startsWith('RegMean')).y"""
    )
    card = (model / "README.md").read_text()
    assert all(f"| {100 * value:.1f} [" in card for value in shown)

    with page.expect_download() as download:
        page.locator("#download-zip").click()
    assert "/gradio_api/file=" in download.value.url
    place = download.value.url.rpartition("/")[0]
    secret = place.rpartition("/")[2]
    assert len(secret) == 32
    for closed in (place, place + "/", place.rpartition("/")[0], place.replace(secret, "0" * 32) + "/x.zip"):
        with pytest.raises(HTTPError) as refused:
            urlopen(closed)
        assert refused.value.code in (403, 404)


def test_recipe_report_and_figures_are_saved_and_a_recipe_is_opened(page: Page, tmp_path: Path):  # noqa: F811
    recipe = save(page, "#save-recipe", tmp_path)
    assert json.loads(recipe.read_text())["parameters"]["alpha"] == 0.9
    report = save(page, "#save-report", tmp_path).read_text()
    assert "RegMean α=0.9" in report and "<h2>Recipe</h2>" in report
    assert "<svg" in save(page, "#save-svg", tmp_path).read_text()
    assert save(page, "#save-png", tmp_path).read_bytes().startswith(b"\x89PNG")
    drawn = save(page, "#save-html", tmp_path).read_text()
    assert drawn.count("</script>") == 2 and "RegMean α=0.9" in drawn
    page.locator("#save-mergekit").click()
    wait_until(page, "() => document.querySelector('#taking').innerText.includes('does not have RegMean')")

    changed = json.loads(recipe.read_text())
    changed["parameters"]["alpha"], changed["experts"] = 0.35, changed["experts"][:3]
    recipe.write_text(json.dumps(changed))
    open_recipe(page, recipe)
    wait_until_up_to_date(page, 0.35)
    assert page.locator("#alpha input[type=number]").input_value() == "0.35"
    assert not page.get_by_label("News editorials", exact=True).first.is_checked()
    changed["experts"][0]["model"] = "owner/elsewhere"
    recipe.write_text(json.dumps(changed))
    open_recipe(page, recipe)
    wait_until(
        page, "() => document.querySelector('#taking').innerText.includes('does not have tweets (owner/elsewhere)')"
    )


def choose_figure(page: Page, title: str) -> None:  # noqa: F811
    page.locator("#taken-figure input").click()
    page.get_by_role("option", name=title, exact=True).click()


def test_figures_of_closed_tabs_are_saved_and_one_that_is_not_drawn_says_so(page: Page, tmp_path: Path):  # noqa: F811
    open_tab(page, "Growth")
    page.locator("#growth-method input").click()
    page.get_by_role("option", name="Simple mean", exact=True).click()
    page.locator("#growth-run").click()
    wait_for_words(page, "#growth-status", "merges, each scored")
    open_tab(page, "Flips")
    choose_figure(page, "Growth")
    assert save(page, "#save-png", tmp_path).read_bytes().startswith(b"\x89PNG")
    assert "<svg" in save(page, "#save-svg", tmp_path).read_text()
    choose_figure(page, "How RegMean works")
    page.locator("#save-png").click()
    wait_for_words(page, "#taking", "not drawn yet")
    page.evaluate("() => { window.Plotly.toImage = () => Promise.reject(new Error('no room')); }")
    choose_figure(page, "Growth")
    page.locator("#save-png").click()
    wait_for_words(page, "#taking", "could not make fusion-ui-growth.png: no room")


def test_the_curves_figure_is_called_after_its_parameter():
    for key, title in (("regmean.alpha", "RegMean α"), ("task_arithmetic.scaling_coefficient", "Task arithmetic λ")):
        titles = {place: words for words, place in figure_choices(key)}
        assert titles["curve"] == f"Every value of {title}"


def test_a_cell_that_only_begins_like_a_number_is_no_formula(page: Page, tmp_path: Path):  # noqa: F811
    cells = ["-2+3+cmd|' /C calc'!A0", "+1", "-0.5", "-1.5e-3", "+A1", "=1", "-.5", "1-2"]
    with page.expect_download() as download:
        page.evaluate(f"cells => ({DOWNLOAD_CSV})({{headers: ['a'], data: cells.map(cell => [cell])}})", cells)
    path = tmp_path / "cells.csv"
    download.value.save_as(path)
    _, *found = path.read_text().splitlines()
    assert found == ["'" + cells[0], "+1", "-0.5", "-1.5e-3", "'+A1", "'=1", "-.5", "1-2"]


@pytest.fixture
def taking(workspace: Workspace, small: Project) -> TakingAway:  # noqa: F811
    return TakingAway(Handlers(workspace, small))


def test_a_push_sends_the_visitors_token_alone_and_keeps_it_nowhere(
    taking: TakingAway, hub: HubServer, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("DEBUG")
    hub.writers["hf_ofTheVisitor"] = "visitor"
    steps = [*taking.push("v", "simple_mean", " visitor/merge ", True, "hf_ofTheVisitor")]
    assert steps[0][1] == "" and "visitor/merge" in steps[-1][0]["message"] and not steps[-1][0]["error"]
    repository = hub.repositories["models", "visitor/merge"]
    files = repository.commits[repository.refs["main"]]
    assert b"models/tweets" in files["recipe.json"] and b"95 % Wilson" in files["README.md"]
    assert {r.token for r in hub.requests if "visitor" in r.path} == {"hf_ofTheVisitor"}
    session = taking.handlers.sessions.get("v")
    assert "hf_ofTheVisitor" not in repr(vars(session)) + caplog.text + str(steps)
    assert session.folder is not None and list(session.folder.iterdir()) == []
    with pytest.raises(FusionError, match="does not accept the given token"):
        [*taking.push("v", "simple_mean", "visitor/merge", True, "hf_other")]


def test_a_visitor_has_one_zip_which_goes_with_the_next_and_with_the_visitor(taking: TakingAway):
    *_, first = taking.make_zip("a", "simple_mean")
    *_, second = taking.make_zip("a", "simple_mean")
    *_, other = taking.make_zip("b", "simple_mean")
    paths = [Path(step[1]["value"]) for step in (first, second, other)]
    assert [path.exists() for path in paths] == [False, True, True]
    assert not paths[0].parent.exists() and len({path.parent.name for path in paths}) == 3
    taking.handlers.sessions.forget("a")
    assert [path.parent.exists() for path in paths] == [False, False, True]
    with pytest.raises(OSError), handing_out(taking.handlers.sessions.get("b")) as place:
        raise OSError("No space left on device")
    assert not place.exists() and paths[2].exists()
    taking.handlers.sessions.forget("b")


def test_a_merge_that_is_not_compared_cannot_be_taken(taking: TakingAway):
    for take in (taking.make_zip, taking.save_recipe, taking.save_report, taking.save_mergekit):
        with pytest.raises(RecipeError, match="not compared any more"):
            [*take("v", "ties")]


def test_the_command_scores_what_the_page_scored(small: Project):  # noqa: F811
    paths = [f"{e.name}={d.report}" for e, d in zip(small.experts, small.domains, strict=True)]
    words = shlex.split(write_command(small, True))
    assert words[:5] == ["fusion-ui", "merge", "recipe.json", "--out", "merged"] and words[6::2] == paths
    spaced = replace(small.domains[0], report=Path("/a b/c;d.csv"), pair_column="second text")
    words = shlex.split(write_command(replace(small, domains=(spaced,)), True))
    assert words[6:] == ["tweets=/a b/c;d.csv", "--pair-column", "second text"]
    assert "/" not in write_command(small, False), "a public page tells no path"


def test_a_public_page_tells_no_path(taking: TakingAway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("SPACE_ID", "owner/space")
    _, saved = taking.save_recipe("v", "simple_mean")
    assert json.loads(saved["text"])["experts"][0]["model"] == "models/tweets"
    *_, last = taking.make_zip("v", "simple_mean")
    with zipfile.ZipFile(last[1]["value"]) as archive:
        text = "".join(archive.read(name).decode() for name in archive.namelist() if name.endswith((".json", ".md")))
    project = taking.handlers.project
    assert all(str(expert.model.parent) not in text for expert in project.experts)
    opened = apply_recipe(parse_recipe(json.loads(saved["text"])), project, default_request(project))
    assert opened.methods[0] == "simple_mean" and opened.experts == tuple(e.name for e in project.experts)
    taking.handlers.sessions.forget("v")


def recipe_of(project: Project, change: Callable[[dict[str, Any]], None] = lambda value: None) -> MergeRecipe:
    value = default_request(project).recipe(project, "regmean").model_dump(mode="json")
    change(value)
    return parse_recipe(value)


def test_a_recipe_becomes_the_controls_that_ask_for_it_again(small: Project):  # noqa: F811
    def change(value: dict[str, Any]) -> None:
        value["parameters"]["alpha"] = 0.25
        value["experts"][1]["weight"] = 2.0
        value["experts"][0]["calibration"]["data"] = str(small.domains[2].calibrate)
        value["statistics"]["num_examples"] = 48
        del value["experts"][3]

    recipe = recipe_of(small, change)
    start = default_request(small)
    request = apply_recipe(recipe, small, replace(start, methods=("simple_mean",)))
    assert request.methods == ("regmean", "simple_mean")
    assert request.recipe(small, "regmean") == recipe


RULE_FOR_DENSITY = {"method": "ties", "parameters": {}, "rules": [{"parameters": "*", "overrides": {"density": 1}}]}
WITH_BASE = {"method": "task_arithmetic", "parameters": {}}


def test_rules_and_scaling_by_depth_come_with_the_recipe(small: Project):  # noqa: F811
    rules = [{"parameters": "ffn", "overrides": {"alpha": 0.5}}, {"parameters": "head", "merge": "movies"}]
    change = {"rules": rules, "base": str(small.base), "layer_scaling": {"shallow": 0.25, "deep": 1.0}}
    recipe = recipe_of(small, lambda v: v.update(change))
    request = apply_recipe(recipe, small, default_request(small))
    assert request.rules == (PageRule("ffn", "", 0.5), PageRule("head", "movies"))
    assert request.recipe(small, "regmean") == recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v["experts"][0].update(model="owner/x", revision="abc"), r"does not have tweets \(owner/x at abc\)"),
        (lambda v: v["experts"][0].update(model="/secret/place/m"), r"does not have tweets \(m\)"),
        (lambda v: v["experts"][0]["calibration"].update(data="/x/other.csv"), "on other.csv, which is no domain"),
        (lambda v: v.update(RULE_FOR_DENSITY), "rules for other"),
        (lambda v: v["statistics"].update(seed=3), "a seed"),
        (lambda v: v.update(heads="own"), "other heads"),
        (lambda v: v.update(WITH_BASE, base="/elsewhere/base"), "another base model than this project"),
        (lambda v: v.update(WITH_BASE, base="owner/base@abc"), "another base model than this project"),
        (lambda v: v["experts"][1].update(labels={"LABEL_0": "bad"}), "other names for the labels of products"),
        (lambda v: v["experts"].reverse(), "experts in another order"),
    ],
)
def test_what_the_page_cannot_show_is_refused(small: Project, change: Callable, words: str):  # noqa: F811
    with pytest.raises(RecipeError, match=words):
        apply_recipe(recipe_of(small, change), small, default_request(small))


def test_the_base_and_labels_of_the_project_are_known_by_every_name_that_a_recipe_gives_them(
    small: Project,  # noqa: F811
):
    first, *others = small.experts
    labels = (("negative", "bad"), ("positive", "good"))
    known = f"owner/base@{'b' * 40}"
    project = replace(small, experts=(replace(first, labels=labels, base=known), *others))

    def opened(base: str, folded: str | None, project: Project) -> FuseRequest:
        def change(value: dict[str, Any]) -> None:
            value.update(WITH_BASE, base=base)
            value["experts"][0].update(labels=dict(labels), base=folded)

        return apply_recipe(recipe_of(project, change), project, default_request(project))

    for base in (str(small.base), "models/base"):
        assert opened(base, known, project).methods[0] == "task_arithmetic"
    on_hub = replace(project, base_source=known)
    for base in (known, "owner/base"):
        assert opened(base, None, on_hub).methods[0] == "task_arithmetic"
    with pytest.raises(RecipeError, match="another base model than"):
        opened("models/base", known, on_hub)
    with pytest.raises(RecipeError, match="another base model under the adapter tweets"):
        opened(known, f"owner/base@{'c' * 40}", on_hub)


def test_models_from_the_hub_are_found_by_name_and_commit_and_named_so(small: Project, workspace: Workspace):  # noqa: F811
    first, *others = small.experts
    project = replace(small, experts=(replace(first, source="owner/tweets", revision="c" * 40), *others))
    recipe = recipe_of(small, lambda v: v["experts"][0].update(model="owner/tweets", revision="c" * 40))
    request: FuseRequest = apply_recipe(recipe, project, default_request(project))
    plan = name_origins(workspace.plan(request.recipe(project, "simple_mean")), project)
    assert (plan.experts[0].source, plan.experts[0].revision) == ("owner/tweets", "c" * 40)
    with pytest.raises(RecipeError, match="does not have"):
        apply_recipe(
            recipe_of(small, lambda v: v["experts"][0].update(model="owner/tweets", revision="d" * 40)),
            project,
            default_request(project),
        )


def test_the_list_of_merges_follows_methods_and_pins():
    pin = json.dumps({"method": "regmean", "parameters": {"alpha": 0.5}})
    update = list_merges(["simple_mean"], [pin], "regmean")
    assert update["value"] == "simple_mean" and len(update["choices"]) == 2
    assert "α=0.5 (pinned)" in update["choices"][1][0]
