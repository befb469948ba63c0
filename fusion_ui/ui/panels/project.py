"""Which project the page shows, and where a person brings models and data of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from fusion_ui.projects.building import MAX_EXPERTS
from fusion_ui.projects.presets import read_presets
from fusion_ui.projects.project import Project
from fusion_ui.ui.controls import status_line, text_table
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
    check_model: gr.Button
    add_model: gr.Button
    data: gr.File
    dataset: gr.Textbox
    domain_name: gr.Textbox
    text_column: gr.Dropdown
    label_column: gr.Dropdown
    preview: gr.HTML
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
                model, found, files, name, token, check_model, add_model = _models(allows_folders)
            with gr.Tab("Data"):
                data, dataset, domain, text, label, preview, add_domain = _domains()
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
    controls: list[Any] = [removed, statistics_of, text, label, found, heads, chosen]
    for control in controls:
        control.preprocess = lambda payload: payload  # checked where it is used: its choices change with the project
    return ProjectPanel(
        chosen, preset, weighed, open_preset, own, model, found, files, name, token, check_model, add_model, data,
        dataset, domain, text, label, preview, add_domain, statistics, statistics_of, add_statistics, contents,
        removed, remove, labels, aligned, heads, message,
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
    with gr.Row():
        check = gr.Button("Check first", size="sm", min_width=100, elem_id="own-check-model")
        add = gr.Button(f"Add model (up to {MAX_EXPERTS})", size="sm", min_width=160, elem_id="own-add-model")
    return model, found, files, name, token, check, add


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
    data = gr.File(label="CSV, TSV, JSONL or Parquet file", elem_id="own-data")
    dataset = gr.Textbox(
        label="Or a data set on the hub",
        placeholder="owner/name, or owner/name:config:split",
        max_length=300,
        elem_id="own-dataset",
    )
    preview = text_table("own-preview", "First rows")
    with gr.Row():
        text = gr.Dropdown([], label="Text column", min_width=120, allow_custom_value=True, elem_id="own-text")
        label = gr.Dropdown([], label="Label column", min_width=120, allow_custom_value=True, elem_id="own-label")
    name = gr.Textbox(label="Name", placeholder="as the model it belongs to", max_length=80, elem_id="own-domain-name")
    return data, dataset, name, text, label, preview, gr.Button("Add data", elem_id="own-add-data")
