"""Commands about what is there: the demo, the methods, the page."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import (
    AsJson,
    open_workspace,
)
from fusion_ui.cli.terminal import terminal_progress


@app.command()
def demo(as_json: AsJson = False) -> None:
    """Prepare the demo project and print where everything lies."""
    project = open_workspace().prepare_demo(terminal_progress())
    if as_json:
        print(json.dumps(project.describe(), indent=2))
    else:
        print(f"{project.title}\n  base        {project.base}\n  multi-task  {project.multitask}")
        for expert, domain in zip(project.experts, project.domains, strict=True):
            print(f"  {expert.name:<11} {expert.model}\n              {domain.report.parent}/*.csv")


@app.command()
def methods(
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the README's table.")] = False,
) -> None:
    """List the merge methods with their parameters."""
    from fusion_ui.methods import METHODS
    from fusion_ui.methods.describe import describe_method, methods_table

    if as_markdown:
        print(methods_table())
        return
    described = [describe_method(method) for method in METHODS]
    if as_json:
        print(json.dumps(described, indent=2))
        return
    for about in described:
        print(f"{about['name']}: {about['summary']}\n    {about['formula']}\n    {about['paper']}")
        for parameter in about["parameters"]:
            print(f"    --set {parameter['name']}={parameter['default']}  {parameter['help']}")


@app.command()
def serve(host: str | None = None, port: Annotated[int | None, typer.Option(min=1, max=65535)] = None) -> None:
    """Prepare the demo and serve the page."""
    from fusion_ui.ui.serving import serve as serve_page

    serve_page(open_workspace(host=host, port=port), terminal_progress())
