"""What the commands have in common on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


def example(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def as_json(function: Function) -> Function:
    """The option --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")(function)


def dry_run(function: Function) -> Function:
    """The option --dry-run."""
    return click.option("--dry-run", is_flag=True, help="Only say what would be done.")(function)


def of_project(function: Function) -> Function:
    """The option that leaves only the sessions of one project, as a real path, also of one that is gone."""
    return click.option(
        "--project",
        type=click.Path(file_okay=False, resolve_path=True),
        help="Only sessions of the project that this folder is in, or was.",
    )(function)


def in_project(function: Function) -> Function:
    """The option that says which project's notes or settings are meant."""
    from pathlib import Path  # noqa: PLC0415 - most commands have no such option

    return click.option(
        "--project",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=".",
        help="The project's folder, where it is not this one.",
    )(function)


def in_scope(function: Function) -> Function:
    """The option that says whose settings are meant."""
    return click.option(
        "--scope",
        type=click.Choice(["user", "project", "local"]),
        default="user",
        show_default=True,
        help="Your settings, those of a project, or yours in a project.",
    )(function)
