"""`sessiond completion`."""

from __future__ import annotations

import click

from sessiond.cli.options import example


@click.command(
    epilog=example(
        'eval "$(sessiond completion bash)"',
        "sessiond completion fish > ~/.config/fish/completions/sessiond.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print what makes the Tab key complete commands in this shell: to eval at its start, or to save."""
    from click import shell_completion  # noqa: PLC0415 - only for this

    from sessiond.cli.commands import COMPLETE, sessiond  # noqa: PLC0415 - it imports this

    kind = shell_completion.get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click knows these three
    click.echo(kind(sessiond, {}, "sessiond", COMPLETE).source())
