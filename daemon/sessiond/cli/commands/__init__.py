"""`sessiond`: every command in the module that its words name."""

from __future__ import annotations

import sys

import click

from sessiond.cli.group import Verbs
from sessiond.cli.options import example
from sessiond.cli.terminal import columns

# What click looks at to complete a line that is being typed.
COMPLETE = "_SESSIOND_COMPLETE"
# How wide help is, as click has it by itself: asking `shutil` for the terminal is a twentieth of the answer.
LEAST_COLUMNS, MOST_COLUMNS = 50, 80


def _version(context: click.Context) -> None:
    from sessiond import build  # noqa: PLC0415 - reads the list of what is installed

    click.echo(build.described())
    context.exit()


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("sessiond run", "sessiond ctl status"),
    subcommand_metavar="COMMAND [ARGUMENTS]...",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _option, wanted: _version(context) if wanted else None,
    help="What runs here: version, commit and libraries.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks; may stand anywhere.")
def sessiond(*, debug: bool) -> None:
    """Back up AI coding sessions, show them on GitHub, restore them anywhere."""
    del debug  # taken from the command line before it is parsed


def parse(arguments: list[str], *, debug: bool) -> int:
    """Run the command line; the exit code.

    Raises:
        SessiondError: the command failed.
        click.ClickException: the command line makes no sense.
    """
    result = sessiond.main(
        arguments,
        prog_name="sessiond",
        complete_var=COMPLETE,
        standalone_mode=False,
        obj=debug,
        terminal_width=max(LEAST_COLUMNS, min(MOST_COLUMNS, columns(sys.stdout)) - 2),
    )
    return result if isinstance(result, int) else 0
