"""What every knob means, one hover or one key away: a small "?" that opens its meaning, formula and paper.

The texts come from the declarations of methods and their parameters, so they stand in one place for page, command line
and README. They reach the browser as JSON and are set as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.components import Component

from fusion_ui.methods import METHODS
from fusion_ui.methods.base import MergeMethod
from fusion_ui.parameters import Parameter, Range
from fusion_ui.ui.controls import parameter_control

SENTENCES = (
    "Each expert reads so many sentences of its own domain, and what its layers then see is its statistics. More "
    "sentences describe the domain better and take longer. Methods that need weights alone do not ask for any."
)
CALIBRATION = "G_i = X_i^T X_i / N_i: X_i has one row for each of the N_i tokens that the layer saw"
BESIDE = (
    ("Experts themselves", "Every expert on every domain. No merge: it takes as many models as there are experts."),
    (
        "Ensemble",
        "All ticked experts answer, and their logits are averaged; of answers in words the most frequent is taken. As "
        "slow as all of them together. Language models on text without labels have none here: they would have to run "
        "side by side, token by token.",
    ),
    (
        "Chance and majority",
        "What needs no model: any label with the same chance, and always the domain's most frequent one. Lines.",
    ),
    ("Multi-task model", "One model trained on all domains' data together, which needs everybody's data in one place."),
)

WEIGHTS = (
    "How much each model counts: RegMean multiplies its Gram matrix by it, a mean its parameters. Only the ratio of "
    "the weights matters."
)
PINS = (
    "A pinned setting stays beside the slider with all its numbers: move on, and see the difference. It can be left "
    "out again in the list below."
)
CURVE = (
    "Every value of one parameter, for any compared method that has a number to set. Scores are from the select "
    "split, so that a value can be chosen here and then be judged on report, which had no say."
)

# Shown while the pointer or the focus is on it, so that its link can be reached; Escape closes it and stays closed
# until the next visit. It is placed by hand, since a card would cut off what stands out of it.
OPEN = """
const [box, tip, button] = ['.explain', '.tip', 'button'].map(s => element.querySelector(s));
const add = (kind, textContent, parent) => {
  return parent.appendChild(Object.assign(document.createElement(kind), {textContent}));
};
const draw = () => {
  tip.replaceChildren();
  for (const part of (props.value || {}).parts || []) {
    const section = add('div', '', tip);
    if (part.title) add('b', part.title, section);
    if (part.text) add('p', part.text, section);
    if (part.formula) add('code', part.formula, section);
    if ((part.paper || '').startsWith('https://'))
      Object.assign(add('a', 'Paper', section), {href: part.paper, target: '_blank', rel: 'noopener'});
  }
};
const show = () => {
  tip.classList.add('open');
  const at = button.getBoundingClientRect(), width = tip.offsetWidth, height = tip.offsetHeight;
  const below = at.bottom + height + 8 < innerHeight || at.top < height;
  tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  tip.style.top = `${below ? at.bottom : at.top - height}px`;
};
const hide = () => tip.classList.remove('open');
box.addEventListener('mouseenter', show);
box.addEventListener('mouseleave', () => { if (!box.contains(document.activeElement)) hide(); });
box.addEventListener('focusin', show);
box.addEventListener('focusout', event => { if (!box.contains(event.relatedTarget)) hide(); });
button.addEventListener('click', show);
document.addEventListener('keydown', event => { if (event.key === 'Escape') hide(); });
addEventListener('scroll', hide, {passive: true, capture: true});
const describe = () => {
  const control = document.getElementById(box.dataset.of);
  for (const input of control ? control.querySelectorAll('input') : []) input.setAttribute('aria-describedby', tip.id);
};
// The control may be drawn later, or again.
new MutationObserver(describe).observe(element.closest('.explained') || element, {childList: true, subtree: true});
describe();
watch('value', draw);
draw();
"""


def explanation(control: str, name: str, parts: Sequence[dict[str, str]]) -> gr.HTML:
    """The "?" of one control.

    Args:
        control: the control's own elem_id.
        name: what the control is called.
        parts: each with a title, a text, a formula and the address of a paper, or some of them.
    """
    tip = f"{control}-explained"
    return gr.HTML(
        value={"parts": list(parts)},
        html_template=f'<span class="explain" data-of="{control}"><button type="button" aria-label="What is {name}?" '
        f'aria-describedby="{tip}">?</button><span class="tip" role="tooltip" id="{tip}"></span></span>',
        js_on_load=OPEN,
        elem_classes="explanation",
    )


def explained_parameter(method: type[MergeMethod], declared: Parameter, value: Any, elem_id: str) -> Component:
    """The control of a method's parameter with its "?"."""
    with gr.Row(elem_classes="explained"):
        control = parameter_control(declared, value, elem_id=elem_id)
        explanation(elem_id, declared.label, explain_parameter(method, declared))
    return control


def explain_parameter(method: type[MergeMethod], declared: Parameter) -> list[dict[str, str]]:
    """What a parameter does, then the method that it belongs to."""
    ends = ""
    if isinstance(declared, Range):
        named = ((declared.minimum, declared.minimum_label), (declared.maximum, declared.maximum_label))
        ends = "; ".join(f"{value:g}: {label}" for value, label in named if label)
    text = " ".join(filter(None, [declared.help, declared.detail, ends and f"{ends}."]))
    return [{"title": declared.label, "text": text}, explain_method(method)]


def explain_method(method: type[MergeMethod]) -> dict[str, str]:
    """Summary, formula and paper of a method."""
    return {"title": method.title, "text": method.summary(), "formula": method.formula, "paper": method.paper}


def explain_methods(names: Sequence[str] | None) -> list[dict[str, str]]:
    """The same of several methods, for the list of those that are compared."""
    return [explain_method(method) for method in METHODS if method.name in (names or ())]


def explain_references() -> list[dict[str, str]]:
    """What can stand beside the merges."""
    return [{"title": title, "text": text} for title, text in BESIDE]


def explain_sentences() -> list[dict[str, str]]:
    """What calibration sentences are for."""
    return [{"title": "Calibration sentences", "text": SENTENCES, "formula": CALIBRATION}]


def explain_weights() -> list[dict[str, str]]:
    """What models' weights are."""
    return [{"title": "Weights", "text": WEIGHTS}]


def explain_pins() -> list[dict[str, str]]:
    """What pinning is for."""
    return [{"title": "Pin", "text": PINS}]


def explain_curve() -> list[dict[str, str]]:
    """What the curve goes over."""
    return [{"title": "Every value", "text": CURVE}]


def wire_explanations(methods: gr.Dropdown, about: gr.HTML) -> None:
    """The explanation of the compared methods follows their list."""

    def follow(names: list[str]) -> dict[str, Any]:
        return {"parts": explain_methods(names)}

    methods.change(follow, methods, about, queue=False, show_progress="hidden", api_visibility="private")
