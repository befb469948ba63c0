"""A list that a person puts in order: by dragging, or with the buttons beside each entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gradio as gr

# The value is the list of names; titles are set as text. What arrives in Python is checked there again.
DRAW_ORDER = """
const list = element.querySelector('ol'), said = element.querySelector('.said');
let dragged = null;
const titleOf = name => props.titles[name] ?? name;
const move = (from, to, focus) => {
  const order = [...props.value], count = order.length;
  if (from === to || from < 0 || to < 0 || from >= count || to >= count) return;
  const [name] = order.splice(from, 1);
  order.splice(to, 0, name);
  props.value = order;
  draw();
  said.textContent = `${titleOf(name)} is number ${to + 1} of ${count}`;
  if (focus) {
    const buttons = [...list.children[to].querySelectorAll('button')];
    (buttons.find(b => b.className === focus && !b.disabled) || buttons.find(b => !b.disabled)).focus();
  }
  trigger('input');
};
const button = (kind, sign, words, from, to, isPossible) => {
  const made = Object.assign(document.createElement('button'), {type: 'button', className: kind, textContent: sign});
  made.setAttribute('aria-label', words);
  made.disabled = !isPossible;
  made.addEventListener('click', () => move(from, to, kind));
  return made;
};
const draw = () => {
  const order = props.titles && Array.isArray(props.value) ? props.value : []; // the one may come before the other
  list.replaceChildren(...order.map((name, i) => {
    const item = document.createElement('li'), text = document.createElement('span');
    text.textContent = titleOf(name);
    item.draggable = true;
    item.append(
      text,
      button('up', '↑', `Move ${titleOf(name)} up`, i, i - 1, i > 0),
      button('down', '↓', `Move ${titleOf(name)} down`, i, i + 1, i < order.length - 1),
    );
    item.addEventListener('dragstart', event => {
      dragged = i;
      event.dataTransfer.setData('text/plain', '');
      event.dataTransfer.effectAllowed = 'move';
      item.classList.add('dragged');
    });
    item.addEventListener('dragend', () => { dragged = null; item.classList.remove('dragged'); });
    item.addEventListener('dragover', event => { if (dragged !== null) event.preventDefault(); });
    item.addEventListener('drop', event => {
      event.preventDefault();
      if (dragged !== null) move(dragged, i, '');
    });
    return item;
  }));
};
watch(['value', 'titles'], draw);
draw();
"""


def order_list(names: Sequence[str], titles: Mapping[str, str], label: str, elem_id: str) -> gr.HTML:
    """The component. Its value is the names in their order; its event is `input`.

    Args:
        titles: name -> what is shown.
    """
    return gr.HTML(
        value=list(names),  # pyright: ignore[reportArgumentType] - any JSON value
        titles=dict(titles),
        html_template=f'<div class="order"><ol aria-label="{label}"></ol>'
        '<div class="said" role="status" aria-live="polite"></div></div>',
        js_on_load=DRAW_ORDER,
        elem_id=elem_id,
    )
