"""`sessiond hook`."""

from __future__ import annotations

import click

from sessiond.cli.options import example


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]},
    epilog=example("sessiond hook Stop < event.json", "sessiond hook PreCompact --passthrough | next-hook"),
)
@click.argument("event", metavar="EVENT")
@click.option("--passthrough", is_flag=True, help="Copy stdin to stdout, for the next in a chain.")
def command(*, event: str, passthrough: bool) -> None:
    """What Claude Code runs at an event, with JSON on stdin: the session is copied, and the daemon told.

    Prints nothing and ends with 0 whatever happens; what went wrong is in hook.log.
    """
    from sessiond import hook as hooked  # noqa: PLC0415 - a hook itself never comes this way

    hooked.run([event, "--passthrough"] if passthrough else [event])
