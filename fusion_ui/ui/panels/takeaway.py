"""Take it with you: the model, its recipe, the figures and a report."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

import gradio as gr

from fusion_ui.methods import METHODS, find_method
from fusion_ui.projects.project import Project
from fusion_ui.settings import Settings
from fusion_ui.ui.controls import status_line
from fusion_ui.ui.curve_choice import CurveChoice, curve_choices
from fusion_ui.ui.logging_in import build_login_button
from fusion_ui.ui.render import render_status
from fusion_ui.ui.request import FuseRequest

FIGURES = {
    "accuracy": "Scores by domain",
    "curve": "Every value of {parameter}",
    "layers": "Layers",
    "pairs-of-experts": "Between every two experts",
    "pairs": "Pairs",
    "growth": "Growth",
    "confusion": "Confusion",
    "how": "How RegMean works",
}
"""Where on the page a figure stands -> what the list calls it."""

# A file that arrives as text is saved by the browser; nothing of it is drawn, and nothing lies on the server.
SAVE_TEXT = """
watch('value', () => {
  const file = props.value;
  if (!file || !file.text) return;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([file.text], {type: file.type}));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
"""

# Always in the light theme, on white, for paper and slides.
SAVE_FIGURE = """async (id, kind) => {
  const say = (message, error) => ({message, fraction: null, detail: '', error: !!error});
  const box = document.querySelector(`#${CSS.escape(id || '')} .live-plot`);
  if (!box || !box.data || !box.data.length)
    return say('This figure is not drawn yet. Fill it in under "Look closer", then save it.', true);
  const ink = '#1e293b', grid = '#e2e8f0', copy = value => JSON.parse(JSON.stringify(value));
  // Plotly forgets a figure's height once its box was resized, and a closed tab has none: the box's own style has it.
  const layout = {...copy(box.layout), width: 960, height: box.offsetHeight || parseFloat(box.style.height)};
  layout.paper_bgcolor = layout.plot_bgcolor = '#fff';
  layout.font = {...layout.font, color: ink};
  for (const axis of Object.keys(layout).filter(key => /^[xy]axis/.test(key)))
    layout[axis] = {...layout[axis], gridcolor: grid, linecolor: grid, tickcolor: grid};
  const data = copy(box.data).map(t => t.meta === 'ink' ? {...t, line: {...t.line, color: ink}} : t);
  const name = `fusion-ui-${id}.${kind}`, link = document.createElement('a');
  if (kind === 'html') {
    const script = await (await fetch(document.querySelector('script[src$="plotly.min.js"]').src)).text();
    const figure = JSON.stringify({data, layout}).replaceAll('<', '\\\\u003c');
    const parts = ['<!doctype html><meta charset="utf-8"><title>Fusion UI</title><script>', script,
      '</', 'script><div id="figure"></div><script>const figure = ', figure,
      '; Plotly.newPlot("figure", figure.data, figure.layout, {displayModeBar: false});</', 'script>'];
    link.href = URL.createObjectURL(new Blob(parts, {type: 'text/html'}));
  } else {
    const size = {width: layout.width, height: layout.height, scale: kind === 'png' ? 2 : 1};
    try {
      link.href = await window.Plotly.toImage({data, layout}, {format: kind, ...size});
    } catch (error) {
      return say(`The browser could not make ${name}: ${error?.message || error}. Choose another kind of file.`, true);
    }
  }
  link.download = name;
  link.click();
  return say(`Saved ${name}.`);
}"""


@dataclass(frozen=True)
class TakeawayPanel:
    """The panel's components. `saved` hands a text to the browser as a file."""

    merge: gr.Dropdown
    status: gr.HTML
    stop: gr.Button
    pack: gr.Button
    download: gr.DownloadButton
    recipe: gr.Button
    mergekit: gr.Button
    report: gr.Button
    upload: gr.UploadButton
    saved: gr.HTML
    figure: gr.Dropdown
    formats: tuple[gr.Button, ...]
    repository: gr.Textbox
    is_private: gr.Checkbox
    token: gr.Textbox
    push: gr.Button
    command: gr.Textbox


def figure_choices(parameter: str) -> list[tuple[str, str]]:
    """Title and place of every figure that can be saved.

    Args:
        parameter: what the curve goes over, as its list of parameters has it.
    """
    known = [choice for choice in curve_choices([method.name for method in METHODS]) if choice.key == parameter]
    title = (known or [CurveChoice()])[0].title
    return [(words.format(parameter=title), place) for place, words in FIGURES.items()]


def write_command(project: Project, allows_folders: bool) -> str:
    """What a terminal needs to merge a saved recipe and to put the page's numbers on its card.

    Args:
        allows_folders: the terminal is on this machine; otherwise its own copies of the files are to be named.
    """
    own = {expert.domain: expert.name for expert in project.experts if expert.domain}
    words = ["fusion-ui", "merge", "recipe.json", "--out", "merged"]
    for domain in project.domains:
        name = own.get(domain.name, domain.name)
        words += ["--data", f"{name}={domain.report if allows_folders else f'{name}-report.csv'}"]
    pairs = {domain.pair_column for domain in project.domains if domain.pair_column}
    words += ["--pair-column", pairs.pop()] if len(pairs) == 1 else []
    return shlex.join(words)


def build_takeaway_panel(project: Project, start: FuseRequest, settings: Settings) -> TakeawayPanel:
    """One row for the model, one for its recipe, one for figures, and the hub behind a fold.

    Where nothing but the demo is served, nothing is uploaded or pushed; where one can log in, no token is typed.
    """

    def button(label: str, elem_id: str) -> gr.Button:
        return gr.Button(label, size="sm", scale=0, min_width=120, elem_id=elem_id)

    with gr.Column(elem_classes="card", elem_id="takeaway"):
        gr.HTML(
            "<h2>Take it with you</h2><p>The model with a card that says what it is made of and how it did on the "
            "report split; the recipe that repeats it; the figures and a report.</p>"
        )
        with gr.Row(elem_classes="buttons"):
            merge = gr.Dropdown(
                [(find_method(name).title, name) for name in start.methods],
                value=start.methods[0],
                label="Merge",
                elem_id="taken",
            )
            with gr.Column(scale=2, min_width=280):
                status = status_line(render_status("Choose a merge, and what to take."), "taking")
            stop = button("Stop", "stop-taking")
        with gr.Row(elem_classes="buttons"):
            pack = button("Model as a zip", "make-zip")
            download = gr.DownloadButton(
                "Download", size="sm", scale=0, min_width=150, visible=False, elem_id="download-zip"
            )
            report = button("Report", "save-report")
            recipe = button("recipe.json", "save-recipe")
            mergekit = button("mergekit YAML", "save-mergekit")
            upload = gr.UploadButton(
                "Open a recipe.json",
                size="sm",
                scale=0,
                min_width=120,
                file_types=[".json"],
                elem_id="open-recipe",
                visible=not settings.demo_only,
            )
        with gr.Row(elem_classes="buttons"):
            figure = gr.Dropdown(
                figure_choices(CurveChoice().key), value=next(iter(FIGURES)), label="Figure", elem_id="taken-figure"
            )
            formats = tuple(button(kind.upper(), f"save-{kind}") for kind in ("html", "svg", "png"))
        command = gr.Textbox(
            write_command(project, settings.allows_folders), label="The same from a terminal, with recipe.json",
            interactive=False, buttons=["copy"], lines=1, max_lines=1, elem_id="command",
        )  # fmt: skip
        with (
            gr.Accordion("Put it on the hub", open=False, elem_id="hub", visible=not settings.demo_only),
            gr.Row(elem_classes="buttons"),
        ):
            repository = gr.Textbox(label="Repository", placeholder="owner/name", elem_id="push-to", max_lines=1)
            if settings.offers_login:
                build_login_button()
            token = gr.Textbox(
                label="Your hub token, with the right to write", type="password", elem_id="push-token", max_lines=1,
                info="Used for this push alone and not kept.", visible=not settings.offers_login,
            )  # fmt: skip
            is_private = gr.Checkbox(True, label="Private", elem_id="push-private")
            push = button("Push", "push")
        saved = gr.HTML(value={}, html_template="<span></span>", js_on_load=SAVE_TEXT, elem_id="saved")
    for control in (merge, figure):  # checked where they are used
        control.preprocess = lambda payload: payload
    return TakeawayPanel(
        merge, status, stop, pack, download, recipe, mergekit, report, upload, saved, figure, formats, repository,
        is_private, token, push, command,
    )  # fmt: skip
