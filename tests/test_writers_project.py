"""Models that write text as an own project: brought, tried in a process of their own, compared, reported on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from generative_models import tiny_bart, tiny_gpt2_writer, tiny_llama, tiny_t5, write_writer
from peft import LoraConfig, get_peft_model
from tiny_models import random_texts

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.checkpoints.finding import find_checkpoint
from fusion_ui.checkpoints.limits import check_untrusted
from fusion_ui.checkpoints.trial import try_in_child
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import FusionError
from fusion_ui.merging.preflight import check_recipe
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.projects.building import add_domain, add_expert, blank_project
from fusion_ui.projects.labels import explain_labels, label_table, rename_labels
from fusion_ui.projects.project import Project, read_split
from fusion_ui.results.card import model_card
from fusion_ui.tasks import load_model
from fusion_ui.ui.comparison import compare, project_evaluation
from fusion_ui.ui.contestants import contestant_choices
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import Workspace

TEXTS = random_texts(60, 1)


def own_project(folder: Path, make, labels: tuple[str, ...], **how: bool) -> Project:
    project = blank_project()
    for i in range(2):
        directory = write_writer(folder / f"model{i}", make(i), **how)
        project, _ = add_expert(project, f"m{i}", Checkpoint(f"m{i}", directory, str(directory)))
    for i in range(2):
        texts = random_texts(60, i)
        chosen = tuple(labels[len(text) % len(labels)] for text in texts) if labels else ()
        project, _ = add_domain(project, f"m{i}", Domain(f"m{i}", f"m{i}", "x", texts, chosen), folder / "domains")
    return project


@pytest.mark.parametrize("make", [tiny_bart, tiny_gpt2_writer], ids=lambda make: make.__name__)
def test_such_models_pass_the_door(tmp_path: Path, make):
    directory = write_writer(tmp_path / "model", make(0), ends=make is tiny_bart)
    check_untrusted(directory)
    try_in_child(directory, seconds=240)
    load_model(Checkpoint("model", directory, "model"))


def test_text_without_labels_is_enough_for_language_models(tmp_path: Path, settings):
    project, workspace = own_project(tmp_path, tiny_gpt2_writer, ()), Workspace(settings)
    assert read_split(project.domains[0], "report").labels == ()
    assert label_table(project) == [] and rename_labels(project, []) == project
    assert "write text" in explain_labels(project)
    request = default_request(project)
    evaluation = project_evaluation(workspace, project, "report")
    found = compare(workspace, project, request, evaluation)
    assert "ensemble" not in [candidate.name for candidate in found.candidates]
    assert ("Ensemble", "ensemble") not in contestant_choices(project, request)[0]["choices"]
    rows = {row.candidate.name: row for row in workspace.evaluate(found.candidates, evaluation, found.in_domain)}
    assert {s.metric for row in rows.values() for s in row.scores} == {"next_token_accuracy"}
    assert all(row.is_complete for row in rows.values())
    assert "It writes text." in model_card(next(iter(found.plans.values())))


def test_labels_are_choices_and_have_an_ensemble(tmp_path: Path, settings):
    project, workspace = own_project(tmp_path, tiny_gpt2_writer, ("w1", "w2")), Workspace(settings)
    evaluation = project_evaluation(workspace, project, "report")
    found = compare(workspace, project, default_request(project), evaluation)
    rows = {row.candidate.name: row for row in workspace.evaluate(found.candidates, evaluation, found.in_domain)}
    assert rows["ensemble"].is_complete and rows["ensemble"].scores[0].metric == "accuracy"


def test_a_model_that_writes_answers_goes_through_the_page_s_comparison(tmp_path: Path, settings):
    project, workspace = own_project(tmp_path, tiny_t5, ("w1 w2", "w3"), ends=True), Workspace(settings)
    evaluation = project_evaluation(workspace, project, "report")
    found = compare(workspace, project, default_request(project), evaluation)
    rows = {row.candidate.name: row for row in workspace.evaluate(found.candidates, evaluation, found.in_domain)}
    assert {s.metric for row in rows.values() for s in row.scores} == {"exact_match"}
    assert "AutoModelForSeq2SeqLM" in model_card(next(iter(found.plans.values())))


def test_text_without_labels_is_refused_where_models_need_them(tmp_path: Path):
    project = blank_project()
    with pytest.raises(FusionError, match=r"has no labels, .* only language models are scored on text alone"):
        add_domain(project, "a", Domain("a", "a", "x", TEXTS, ()), tmp_path)
    directory = write_writer(tmp_path / "t5", tiny_t5(0), ends=True)
    project, _ = add_expert(project, "t5", Checkpoint("t5", directory, "t5"))
    with pytest.raises(FusionError, match="has no labels"):
        add_domain(project, "a", Domain("a", "a", "x", TEXTS, ()), tmp_path)


def test_heads_and_label_names_do_not_matter_to_models_without_labels(tmp_path: Path, settings):
    models = [write_writer(tmp_path / f"m{i}", tiny_bart(i), ends=True) for i in range(2)]
    assert Checkpoint("a", models[0], "a").label_names == ()  # BART's configuration names three
    experts = [{"name": f"m{i}", "model": str(model)} for i, model in enumerate(models)]
    recipe = {"method": "simple_mean", "experts": experts}
    recipes = [parse_recipe(recipe | {"heads": heads}) for heads in (None, "own", "union")]
    workspace = Workspace(settings)
    merged = [workspace.merge(workspace.plan(recipe)).tensors for recipe in recipes]
    for name in merged[0]:
        assert all(torch.equal(merged[0][name], other[name]) for other in merged[1:])
    assert check_recipe(recipes[0], settings).problems == ()
    experts[0]["labels"] = {"LABEL_0": "good"}
    with pytest.raises(FusionError, match="has no label 'LABEL_0' to rename"):
        workspace.plan(parse_recipe(recipe))


def test_an_adapter_of_a_language_model_is_folded_into_it(tmp_path: Path, settings):
    base = write_writer(tmp_path / "base", tiny_llama(0))
    model = tiny_llama(0).requires_grad_(True)
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"]))
    with torch.no_grad():
        for number, (name, parameter) in enumerate(adapted.named_parameters()):
            if "lora" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.eval().save_pretrained(tmp_path / "adapter")
    found = find_checkpoint("a", str(tmp_path / "adapter"), settings)
    ids = torch.tensor([[7, 8, 9]])
    with torch.no_grad():
        torch.testing.assert_close(
            load_model(found)(input_ids=ids).logits, adapted(input_ids=ids).logits, rtol=1e-4, atol=1e-5
        )


def test_a_metric_that_does_not_score_choices_is_refused_as_the_text_is_added(tmp_path: Path):
    project = replace(own_project(tmp_path, tiny_gpt2_writer, ()), domains=())
    project = replace(project, experts=tuple(replace(expert, domain="") for expert in project.experts))
    labelled, plain = (Domain("m0", "m0", "x", TEXTS, labels) for labels in (("w1", "w2") * 30, ()))
    for metric, text in (("accuracy", labelled), ("macro_f1", labelled), ("perplexity", plain)):
        assert add_domain(project, "m0", text, tmp_path / "more", metric)[0].domains[0].metric == metric
    with pytest.raises(FusionError, match=r"has labels, so m0 chooses among them, .*'perplexity'.* accuracy, macro_f1"):
        add_domain(project, "m0", labelled, tmp_path / "more", "perplexity")
    with pytest.raises(FusionError, match="has no metric 'accuracy'"):
        add_domain(project, "m0", plain, tmp_path / "more", "accuracy")
