"""The merges that were evaluated: a list of which one is restored or pinned and two are compared."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from fusion_ui.ui.controls import status_line
from fusion_ui.ui.render import render_status

# Names come from people, so they are set as text. What is chosen is sent along with the event that says so.
DRAW_LIST = """
const list = element.querySelector('.merges'), more = element.querySelector('.passed input');
const chosen = new Set();
const make = (kind, properties, ...children) => {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children.filter(Boolean));
  return made;
};
const tell = () => trigger('select', {chosen: [...chosen]});
const describe = row => {
  const box = make('input', {type: 'checkbox', checked: chosen.has(row.key), value: row.key});
  box.addEventListener('change', () => {
    if (box.checked) chosen.add(row.key); else chosen.delete(row.key);
    tell();
  });
  const dot = make('i', {className: 'dot'});
  dot.style.background = row.color;
  const when = make('time', {textContent: new Date(1000 * row.time).toLocaleString([], {
    month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit'})});
  const now = row.isShown && make('span', {className: 'now', textContent: 'shown now'});
  const title = make('span', {className: 'title'}, make('b', {textContent: row.label}), now, when);
  const lines = [row.about, row.domains].map(textContent => make('small', {textContent}));
  const mean = make('span', {className: 'mean'}, make('b', {textContent: row.mean}),
    make('small', {textContent: row.interval}));
  return make('label', {className: 'merge'}, box, dot, make('span', {className: 'what'}, title, ...lines), mean);
};
const draw = () => {
  const rows = (props.value || {}).rows || [], before = chosen.size;
  const keys = new Set(rows.map(row => row.key));
  for (const key of chosen) if (!keys.has(key)) chosen.delete(key);
  const passed = rows.filter(row => !row.isSettled && !row.isShown && !chosen.has(row.key));
  const focused = list.contains(document.activeElement) && document.activeElement.value;
  element.querySelector('.passed').hidden = !passed.length;
  element.querySelector('.passed span').textContent = `Also ${passed.length} that the slider only passed`;
  element.querySelector('.none').hidden = rows.length > 0;
  list.replaceChildren(...rows.filter(row => more.checked || !passed.includes(row)).map(describe));
  if (focused) [...list.querySelectorAll('input')].find(box => box.value === focused)?.focus();
  if (chosen.size !== before) tell();
};
more.addEventListener('change', draw);
watch('value', draw);
draw();
"""


@dataclass(frozen=True)
class HistoryPanel:
    """The panel's components. `chosen` holds the keys of the ticked merges, in the order in which they were ticked."""

    merges: gr.HTML
    chosen: gr.State
    said: gr.HTML
    restore: gr.Button
    pin: gr.Button
    name: gr.Textbox
    rename: gr.Button
    remove: gr.Button


def build_history_panel() -> HistoryPanel:
    """A card of its own; what can be done with the ticked merges stands above the list."""
    with gr.Column(elem_classes="card", elem_id="history"):
        gr.HTML(
            "<h2>History</h2><p>Every merge that was scored on the whole report split; mean over the domains with its "
            "95 % interval. Tick one to go back to it, two to compare them.</p>"
        )
        with gr.Row(equal_height=True, elem_id="history-actions"):
            restore, pin, remove = (
                gr.Button(
                    title, size="sm", scale=0, min_width=90, interactive=False, elem_id=f"history-{title.lower()}"
                )
                for title in ("Restore", "Pin", "Remove")
            )
            name = gr.Textbox(
                label="Name for the ticked merge", show_label=False, container=False, placeholder="Name for it",
                max_length=80, min_width=120, elem_id="history-name",
            )  # fmt: skip
            rename = gr.Button("Rename", size="sm", scale=0, min_width=90, interactive=False, elem_id="history-rename")
        said = status_line(render_status(""), "history-said")
        merges = gr.HTML(
            value={"rows": []},
            html_template='<p class="none">Nothing yet.</p><div class="merges" role="group" aria-label="History"></div>'
            '<label class="passed" hidden><input type="checkbox"><span></span></label>',
            js_on_load=DRAW_LIST,
            elem_id="history-list",
        )
    return HistoryPanel(merges, gr.State([]), said, restore, pin, name, rename, remove)
