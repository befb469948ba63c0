"""The methods as plain values and as a Markdown table, for the command line and the README."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fusion_ui.methods import METHODS
from fusion_ui.methods.base import MergeMethod
from fusion_ui.parameters import declared_parameters, default_values


def describe_method(method: type[MergeMethod]) -> dict[str, Any]:
    """Name, title, paper, formula, needs and parameters as JSON values."""
    defaults = default_values(method)
    parameters = [
        {"name": name, "kind": type(parameter).__name__.lower(), "default": defaults[name]}
        | {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(parameter).items()}
        for name, parameter in declared_parameters(method).items()
    ]
    return {
        "name": method.name,
        "title": method.title,
        "summary": method.summary(),
        "paper": method.paper,
        "formula": method.formula,
        "requires": sorted(kind.value for kind in method.requires),
        "needs_text": method.needs_text,
        "needs_base": method.needs_base,
        "num_experts": list(method.num_experts),
        "parameters": parameters,
    }


def methods_table() -> str:
    """The README's table of methods."""
    lines = ["| method | name | what it does | needs | parameters |", "|---|---|---|---|---|"]
    for method in METHODS:
        about = describe_method(method)
        declared, defaults = declared_parameters(method), default_values(method)
        parameters = "; ".join(f"`{n}`: {p}, default {defaults[n]}" for n, p in declared.items())
        needs = {"gram": "Gram matrices", "fisher": "Fisher information"}
        others = ["every expert's text"] * method.needs_text + ["base model"] * method.needs_base
        required = ", ".join([*(needs[kind] for kind in about["requires"]), *others]) or "weights alone"
        title = f"[{about['title']}]({about['paper']})" if about["paper"] else about["title"]
        lines.append(f"| {title} | `{method.name}` | {about['summary']} | {required} | {parameters or 'none'} |")
    return "\n".join(lines)
