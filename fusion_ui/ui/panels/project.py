"""Which project the page shows, and where a person brings models and data of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from fusion_ui.projects.building import MAX_EXPERTS
from fusion_ui.projects.presets import read_presets
from fusion_ui.projects.project import Project
from fusion_ui.tasks import METRICS
from fusion_ui.ui.controls import live_figure, status_line, text_table
from fusion_ui.ui.render import render_status

OWN = "own"
LABEL_HEADERS = ["Whose", "Its label", "Goes by"]


@dataclass(frozen=True)
class ProjectPanel:
    """The panel's components."""

    project: gr.Dropdown
    preset: gr.Column
    weighed: gr.HTML
    open_preset: gr.Button
    own: gr.Accordion
    model: gr.Textbox
    found: gr.Radio
    model_files: gr.File
    model_name: gr.Textbox
    token: gr.Textbox
    is_base: gr.Checkbox
    check_model: gr.Button
    add_model: gr.Button
    data: gr.File
    dataset: gr.Textbox
    look: gr.Button
    parts: gr.Row
    config: gr.Dropdown
    split: gr.Dropdown
    domain_name: gr.Textbox
    metric: gr.Dropdown
    threshold: gr.Number
    text_column: gr.Dropdown
    pair_column: gr.Dropdown
    label_column: gr.Dropdown
    preview: gr.HTML
    summary: gr.HTML
    add_domain: gr.Button
    statistics: gr.File
    statistics_of: gr.Dropdown
    add_statistics: gr.Button
    contents: gr.HTML
    removed: gr.Dropdown
    remove: gr.Button
    labels: gr.Dataframe
    aligned: gr.HTML
    heads: gr.Radio
    message: gr.HTML


def build_project_panel(project: Project, allows_folders: bool) -> ProjectPanel:
    """A choice of project; below it, closed at first, what makes up the visitor's own."""
    with gr.Column(elem_classes="card"):
        presets = [(preset.title, name) for name, preset in read_presets().items()]
        chosen = gr.Dropdown(
            [(project.title, project.name), ("Your own models", OWN), *presets],
            value=project.name,
            label="Project",
            elem_id="project",
        )
        with gr.Column(visible=False) as preset:
            weighed = status_line(render_status(""), "preset-needs")
            open_preset = gr.Button("Fetch and open", size="sm", elem_id="open-preset")
        with gr.Accordion("Your own models and data", open=False, elem_id="own") as own:
            message = status_line(render_status("Models fine-tuned from one base, and text for each."), "own-message")
            with gr.Tab("Models"):
                model, found, files, name, token, is_base, check_model, add_model = _models(allows_folders)
            with gr.Tab("Data"):
                data_controls = _domains()
            with gr.Tab("Statistics"):
                gr.HTML(
                    "<p>Made by <code>fusion-ui stats</code> where the data is, in its place here. A Gram matrix is "
                    "no single sentence, but it is not anonymous either.</p>"
                )
                statistics = gr.File(label="Statistics file", file_types=[".safetensors"], elem_id="own-statistics")
                statistics_of = gr.Dropdown([], label="Of which model", elem_id="own-statistics-of")
                add_statistics = gr.Button("Use instead of data", size="sm", elem_id="own-add-statistics")
            contents = text_table("own-contents", "What is in your project")
            labels, aligned, heads = _labels()
            with gr.Row():
                removed = gr.Dropdown([], label="Take out", min_width=120, elem_id="own-removed")
                remove = gr.Button("Remove", size="sm", min_width=80, scale=0, elem_id="own-remove")
    *data_controls, metric, threshold = data_controls
    data, dataset, look, parts, config, split, domain, text, pair, label, preview, summary, add_domain = data_controls
    controls: list[Any] = [removed, statistics_of, config, split, text, pair, label, metric, found, heads, chosen]
    for control in controls:
        control.preprocess = lambda payload: payload  # checked where it is used: its choices change with the project
    return ProjectPanel(
        chosen, preset, weighed, open_preset, own, model, found, files, name, token, is_base, check_model, add_model,
        data, dataset, look, parts, config, split, domain, metric, threshold, text, pair, label, preview, summary,
        add_domain, statistics, statistics_of, add_statistics, contents, removed, remove, labels, aligned, heads,
        message,
    )  # fmt: skip


def _models(allows_folders: bool) -> tuple:
    folder = ", or a folder on this machine" if allows_folders else ""
    model = gr.Textbox(
        label=f"Model on the hub{folder}",
        placeholder="owner/name, owner/name@revision, or words to search for",
        max_length=300,
        elem_id="own-model",
    )
    found = gr.Radio([], label="Found on the hub", visible=False, elem_id="own-found")
    files = gr.File(
        label="Or its files: config, tokenizer and safetensors, an adapter, or one zip",
        file_count="multiple",
        elem_id="own-model-files",
    )
    name = gr.Textbox(label="Name", placeholder="taken from the model if left empty", max_length=80, elem_id="own-name")
    with gr.Accordion("Gated or private model", open=False):
        token = gr.Textbox(
            label="Your hub token",
            info="Sent to the hub for this one request and kept nowhere.",
            type="password",
            max_length=200,
        )
    is_base = gr.Checkbox(
        False,
        label="This is the base model",
        info="What the others were fine-tuned from. Methods on task vectors need it.",
        elem_id="own-is-base",
    )
    with gr.Row():
        check = gr.Button("Check first", size="sm", min_width=100, elem_id="own-check-model")
        add = gr.Button(f"Add model (up to {MAX_EXPERTS})", size="sm", min_width=160, elem_id="own-add-model")
    return model, found, files, name, token, is_base, check, add


def _labels() -> tuple:
    with gr.Accordion("Labels", open=False, elem_id="own-labels"):
        aligned = status_line(render_status(""), "own-aligned")
        labels = gr.Dataframe(
            headers=LABEL_HEADERS,
            datatype="str",
            type="array",
            interactive=True,
            static_columns=[0, 1],
            column_widths=["34%", "33%", "33%"],
            buttons=[],
            max_height=260,
            wrap=True,
            label="Write the same name where labels mean the same",
            elem_id="own-label-table",
        )
        heads = gr.Radio(
            [("Refuse", ""), ("One head for all labels", "union"), ("Each its own head", OWN)],
            value="",
            label="Where labels differ",
            elem_id="own-heads",
        )
    return labels, aligned, heads


def _domains() -> tuple:
    data = gr.File(label="CSV, TSV, JSONL, Parquet or CoNLL file", elem_id="own-data")
    with gr.Row(equal_height=True):
        dataset = gr.Textbox(
            label="Or a data set on the hub",
            placeholder="owner/name",
            max_length=300,
            min_width=160,
            elem_id="own-dataset",
        )
        look = gr.Button("Look", size="sm", scale=0, min_width=70, elem_id="own-look")
    with gr.Row(visible=False) as parts:
        config = gr.Dropdown([], label="Configuration", min_width=120, elem_id="own-config")
        split = gr.Dropdown([], label="Split", min_width=120, elem_id="own-split")
    preview = text_table("own-preview", "First rows")
    with gr.Row():
        text = gr.Dropdown([], label="Text", min_width=90, allow_custom_value=True, elem_id="own-text")
        pair = gr.Dropdown([], label="Second text", min_width=90, allow_custom_value=True, elem_id="own-pair")
        label = gr.Dropdown([], label="Label", min_width=90, allow_custom_value=True, elem_id="own-label")
    summary = live_figure({}, 0, "Labels and lengths of this data", "own-summary")
    name = gr.Textbox(label="Name", placeholder="as the model it belongs to", max_length=80, elem_id="own-domain-name")
    metrics = [("Usual for its model", ""), *((metric.title, metric.name) for metric in METRICS.values())]
    metric = gr.Dropdown(metrics, value="", label="Scored by", elem_id="own-metric")
    threshold = gr.Number(
        None,
        label="A label is given above this probability",
        placeholder="0.5",
        step=0.05,
        visible=False,
        elem_id="own-threshold",
    )
    add = gr.Button("Add data", elem_id="own-add-data")
    return data, dataset, look, parts, config, split, name, text, pair, label, preview, summary, add, metric, threshold
