"""Components that the page needs more than once: live figures, the status line, a control for any declaration."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.components import Component

from fusion_ui.parameters import Choice, Parameter, Range

# The figure reaches the browser as JSON through `watch`, never as markup, so no name or label is ever parsed as HTML.
DRAW_FIGURE = """
const box = element.querySelector('.live-plot');
const enlarge = (figure, space) => {
  const more = size => 1.6 * (size || 12), {layout} = figure;
  const margin = Object.fromEntries(Object.entries(layout.margin || {}).map(([side, room]) => [side, 1.5 * room]));
  const legend = {...layout.legend, font: {...layout.legend?.font, size: more(layout.legend?.font?.size)}};
  const data = figure.data.map(t => ({...t,
    ...(t.marker?.size > 0 && {marker: {...t.marker, size: more(t.marker.size)}}),
    ...(t.line?.width && {line: {...t.line, width: more(t.line.width)}}),
    ...(t.error_y?.thickness && {error_y: {...t.error_y, thickness: more(t.error_y.thickness)}})}));
  const font = {...layout.font, size: more(layout.font?.size)};
  return {...figure, data, layout: {...layout, margin, legend, font, height: Math.max(layout.height || 0, space)}};
};
const draw = () => {
  const isLarge = document.body.classList.contains('presenting');
  const figure = isLarge && props.value?.layout ? enlarge(props.value, 0.56 * window.innerHeight) : props.value;
  if (!window.Plotly || (figure && figure.version < box.version)) return;
  if (!figure || !figure.layout) { if (box.data) window.Plotly.purge(box); return; }
  box.version = figure.version;
  const style = getComputedStyle(element);
  const ink = style.getPropertyValue('--body-text-color').trim() || '#222';
  const grid = style.getPropertyValue('--border-color-primary').trim() || '#ddd';
  const sheet = style.getPropertyValue('--block-background-fill').trim() || '#fff';
  const layout = {...figure.layout, font: {...figure.layout.font, color: ink, family: style.fontFamily}};
  for (const axis of ['xaxis', 'yaxis'])
    layout[axis] = {gridcolor: grid, linecolor: grid, tickcolor: grid, fixedrange: true, ...layout[axis]};
  layout.hoverlabel = {...layout.hoverlabel, bgcolor: sheet, bordercolor: grid, font: {color: ink}};
  const data = figure.data.map(t => t.meta === 'ink' ? {...t, line: {...t.line, color: ink}} : t);
  box.style.height = `${layout.height}px`;
  if (box.isLarge !== isLarge) window.Plotly.purge(box); // begins anew with the width that there is now
  box.isLarge = isLarge;
  window.Plotly.react(box, data, layout, {displayModeBar: false, responsive: true});
};
watch('value', draw);
new ResizeObserver(() => { if (box.data) window.Plotly.Plots.resize(box); }).observe(box);
new MutationObserver(draw).observe(document.body, {attributes: true, attributeFilter: ['class']});
if (window.Plotly) draw(); else {
  const timer = setInterval(() => { if (window.Plotly) { clearInterval(timer); draw(); } }, 50);
}
"""

DRAW_STATUS = """
const [message, bar, detail] = ['.message', '.bar', '.detail'].map(s => element.querySelector(s));
const draw = () => {
  const status = props.value || {};
  message.textContent = status.message || '';
  detail.textContent = status.detail || '';
  element.querySelector('.status').classList.toggle('error', !!status.error);
  const isKnown = typeof status.fraction === 'number';
  bar.style.visibility = isKnown ? 'visible' : 'hidden';
  bar.firstElementChild.style.width = `${isKnown ? 100 * status.fraction : 0}%`;
};
watch('value', draw);
draw();
"""

# Cells come from files and models that anybody may have made, so they are set as text.
DRAW_TABLE = """
const table = element.querySelector('table');
const row = (kind, cells) => {
  const line = document.createElement('tr');
  for (const text of cells) line.appendChild(Object.assign(document.createElement(kind), {textContent: text}));
  return line;
};
const draw = () => {
  const value = props.value || {};
  const headers = (value.headers || []).length ? [row('th', value.headers)] : [];
  table.replaceChildren(...headers, ...(value.rows || []).map(cells => row('td', cells)));
};
watch('value', draw);
draw();
"""

# The table is in the browser already. A cell that a spreadsheet would take for a formula is made text by an apostrophe;
# after a sign, only a plain number is none.
DOWNLOAD_CSV = """(table) => {
  const cell = value => {
    const isNumber = /^[-+]?(\\d+\\.?\\d*|\\.\\d+)(e[-+]?\\d+)?$/i.test(String(value ?? ''));
    const text = String(value ?? '').replace(isNumber ? /^$/ : /^[-=+@\\t\\r]/, "'$&");
    return /[",\\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const csv = [table.headers, ...table.data].map(row => row.map(cell).join(',')).join('\\n') + '\\n';
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([csv], {type: 'text/csv'}));
  link.download = 'fusion-ui-numbers.csv';
  link.click();
  URL.revokeObjectURL(link.href);
}"""


def live_figure(value: dict[str, Any], height: int, label: str, elem_id: str) -> gr.HTML:
    """A figure that new values redraw in place: zoom and hidden traces survive, nothing jumps."""
    return gr.HTML(
        value=value,
        html_template=f'<div class="live-plot" role="img" aria-label="{label}" style="height:{height}px"></div>',
        js_on_load=DRAW_FIGURE,
        elem_id=elem_id,
        min_height=height,
    )


def status_line(value: dict[str, Any], elem_id: str) -> gr.HTML:
    """A sentence, a progress bar and a second sentence."""
    return gr.HTML(
        value=value,
        html_template='<div class="status" role="status" aria-live="polite"><div class="message"></div>'
        '<div class="bar"><div></div></div><div class="detail"></div></div>',
        js_on_load=DRAW_STATUS,
        elem_id=elem_id,
    )


def text_table(elem_id: str, label: str) -> gr.HTML:
    """A small table of texts: {"headers": [...], "rows": [[...], ...]}."""
    return gr.HTML(
        value={},
        # Reached by the keyboard, which scrolls it.
        html_template=f'<div class="text-table" role="region" aria-label="{label}" tabindex="0"><table></table></div>',
        js_on_load=DRAW_TABLE,
        elem_id=elem_id,
    )


def parameter_control(declared: Parameter, value: Any, **options: Any) -> Component:
    """The control that a declaration asks for: slider, list or tick box, with its label and help."""
    control = _make_control(declared, value, **options)
    # The declaration alone decides what is allowed, so page, command line and API refuse with the same sentence.
    control.preprocess = lambda payload: payload
    return control


def _make_control(declared: Parameter, value: Any, **options: Any) -> Component:
    if isinstance(declared, Range):
        return gr.Slider(
            declared.minimum,
            declared.maximum,
            value,
            step=declared.step,
            label=declared.label,
            info=declared.help,
            **options,
        )
    if isinstance(declared, Choice):
        return gr.Dropdown(list(declared.options), value=value, label=declared.label, info=declared.help, **options)
    return gr.Checkbox(value, label=declared.label, info=declared.help, **options)
