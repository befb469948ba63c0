"""A field to type sentences into, and every model's answer side by side."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from fusion_ui.evaluation.typed_text import MAX_CHARACTERS, MAX_EXAMPLES
from fusion_ui.ui.controls import status_line
from fusion_ui.ui.render import render_status

# Sentences, names of models and labels are set as text. A bar is as wide as its probability.
DRAW_ANSWERS = """
const box = element.querySelector('.answers');
const make = (kind, text, name = '') =>
  Object.assign(document.createElement(kind), {textContent: text, className: name});
const draw = () => {
  const value = props.value || {};
  box.replaceChildren(...(value.examples || []).map(example => {
    const block = make('section', ''), table = make('table', ''), top = make('tr', '');
    const heading = make('div', '', 'sentence');
    for (const text of example.texts) heading.appendChild(make('div', text));
    for (const text of ['Model', ...value.labels]) top.appendChild(make('th', text));
    table.appendChild(top);
    for (const model of example.models) {
      const row = make('tr', ''), name = make('td', model.title);
      name.style.setProperty('--model', model.color);
      row.appendChild(name);
      model.probabilities.forEach((probability, i) => {
        const cell = make('td', '', i === model.chosen ? 'chosen' : ''), bar = make('div', '', 'bar');
        bar.style.width = `${100 * (probability || 0)}%`;
        const number = make('span', probability === null ? '–' : `${(100 * probability).toFixed(1)} %`);
        cell.append(bar, number);
        row.appendChild(cell);
      });
      if (!model.probabilities.length) {  // an answer that is no label
        const cell = make('td', model.answer, 'chosen');
        cell.colSpan = Math.max(1, value.labels.length);
        row.appendChild(cell);
      }
      table.appendChild(row);
    }
    table.setAttribute('aria-label', 'Answers');
    block.append(heading, make('div', example.note, example.is_cut ? 'note cut' : 'note'), table);
    return block;
  }));
};
watch('value', draw);
draw();
"""


@dataclass(frozen=True)
class TryItPanel:
    """The panel's components."""

    text: gr.Textbox
    answer: gr.Button
    status: gr.HTML
    answers: gr.HTML


def build_try_it_panel() -> TryItPanel:
    """One line is one sentence; with a single line in sight, Enter submits."""
    with gr.Tab("Try it"):
        with gr.Row(equal_height=True):
            text = gr.Textbox(
                label="Sentences",
                info=f"Enter answers. Shift + Enter or pasting gives up to {MAX_EXAMPLES} lines, a sentence each; "
                "a tab stands between the two sentences of a pair.",
                placeholder="The plot is thin, but I would watch it again.",
                lines=1,
                max_lines=8,
                max_length=MAX_EXAMPLES * (MAX_CHARACTERS + 1),
                elem_id="try-text",
            )
            answer = gr.Button("Answer", size="sm", scale=0, min_width=110, elem_id="try-answer")
        status = status_line(
            render_status("Every model of the page answers, merges as they are set. Nothing is kept."), "try-status"
        )
        answers = gr.HTML(
            value={}, html_template='<div class="answers"></div>', js_on_load=DRAW_ANSWERS, elem_id="answers"
        )
    text.preprocess = lambda payload: payload  # checked where it is used
    return TryItPanel(text, answer, status, answers)
