"""Commands about what is there: the demo, the methods, the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import AsJson, open_workspace
from fusion_ui.cli.terminal import terminal_progress
from fusion_ui.errors import ParameterError
from fusion_ui.settings import read_settings
from fusion_ui.sources.storage import ensure_temporary_directory


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
def presets(
    name: Annotated[str | None, typer.Argument(help="Fetch this one; without a name all are listed.")] = None,
    out: Annotated[Path | None, typer.Option(help="New directory for its sentences and its recipe.json.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the projects that can be opened by name, or fetch one and write its recipe."""
    from fusion_ui.merging.export import check_destination
    from fusion_ui.projects.presets import find_preset, open_preset, preset_recipe, read_presets
    from fusion_ui.sources.files import replace_directory, write_json

    if name is None:
        found = read_presets().values()
        if as_json:
            print(json.dumps([preset.model_dump() for preset in found], indent=2))
        for preset in () if as_json else found:
            print(f"{preset.name}: {preset.title}\n    {preset.about}")
        return
    if out is None:
        raise ParameterError("Say where to write the sentences and the recipe: --out DIRECTORY.")
    preset = find_preset(name)
    check_destination(out)
    with replace_directory(out.resolve()) as folder:
        project, notes = open_preset(preset, folder / "domains", open_workspace().settings, terminal_progress())
        write_json(folder / "recipe.json", preset_recipe(project, folder))
        reports = {d.name: out / d.report.relative_to(folder) for d in project.domains}
    print(f"{out}: {preset.title}\n  fusion-ui merge {out / 'recipe.json'} --out NEW_DIRECTORY")
    data = " ".join(f"--data {domain}={report}" for domain, report in reports.items())
    print(f"  fusion-ui evaluate {out / 'recipe.json'} {data}")
    for note in notes:
        print(f"- {note}")


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
    ensure_temporary_directory(read_settings().cache_dir / "tmp")  # gradio looks for one as soon as it is imported
    from fusion_ui.ui.serving import serve as serve_page

    serve_page(open_workspace(host=host, port=port), terminal_progress())
