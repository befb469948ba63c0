"""A list that a person puts in order: by dragging, or with the buttons beside each entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

# The value is the names in their order and their titles, which are set as text. Both are in the one value: a component
# of a tab that was never opened keeps the value of an update, and loses whatever else the update says.
# What arrives in Python is checked there again.
DRAW_ORDER = """
const list = element.querySelector('ol'), said = element.querySelector('.said');
let dragged = null;
const titleOf = name => props.value.titles[name] ?? name;
const move = (from, to, focus) => {
  const order = [...props.value.names], count = order.length;
  if (from === to || from < 0 || to < 0 || from >= count || to >= count) return;
  const [name] = order.splice(from, 1);
  order.splice(to, 0, name);
  props.value = {...props.value, names: order};
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
  const order = props.value?.names ?? [];
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
watch('value', draw);
draw();
"""


def order_list(names: Sequence[str], titles: Mapping[str, str], label: str, elem_id: str) -> gr.HTML:
    """The component. `in_order` makes its value, `names_in` reads it; its event is `input`.

    Args:
        titles: name -> what is shown.
    """
    return gr.HTML(
        value=in_order(names, titles),  # pyright: ignore[reportArgumentType] - any JSON value
        html_template=f'<div class="order"><ol aria-label="{label}"></ol>'
        '<div class="said" role="status" aria-live="polite"></div></div>',
        js_on_load=DRAW_ORDER,
        elem_id=elem_id,
    )


def in_order(names: Sequence[str], titles: Mapping[str, str]) -> dict[str, Any]:
    """What the list shows: entries in their order, and what each is called."""
    return {"names": list(names), "titles": dict(titles)}


def names_in(shown: Any) -> Any:
    """The names in what the list sent, in their order; a caller without a page may send the names alone."""
    return shown.get("names") if isinstance(shown, dict) else shown
