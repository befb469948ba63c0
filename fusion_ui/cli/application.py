"""The application that every command registers with, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from fusion_ui.cli.terminal import clear_line
from fusion_ui.errors import FusionError

app = typer.Typer(
    name="fusion-ui",
    help="Merge fine-tuned language models without their training data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a `FusionError` is printed as one sentence and ends with code 2."""
    try:
        app(args=list(arguments) if arguments is not None else None)
    except FusionError as error:
        clear_line()
        print(f"fusion-ui: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        clear_line()
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"fusion-ui: {where}{error.strerror or error}. Check the path, its permissions and the free space.",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        clear_line()
        print("fusion-ui: stopped.", file=sys.stderr)
        raise SystemExit(130) from None
