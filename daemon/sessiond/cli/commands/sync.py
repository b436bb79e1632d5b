"""`sessiond sync`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sessiond.cli.options import as_json, example
from sessiond.cli.sending import TIMEOUT_S


@click.command(
    epilog=example(
        "sessiond sync --once --timeout 300", "sessiond sync --once --textfile /var/lib/node/s.prom"
    )
)
@click.option("--once", is_flag=True, required=True, help="Until everything is through, then end.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=TIMEOUT_S, show_default=True)
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the metrics to this file, for node_exporter.",
)
@as_json
@click.pass_context
def command(
    context: click.Context, *, once: bool, timeout_s: float, textfile: Path | None, as_json: bool
) -> None:
    """Capture and push once, without a daemon, as in CI; a daemon that runs does it instead.

    Exit code 1 says that something is left, which is printed.
    """
    del once  # there is no other way yet; `ctl sync` is for the daemon
    from sessiond import once as alone  # noqa: PLC0415 - heavy

    code = alone.sync_once(
        os.environ, timeout_s=timeout_s, textfile=textfile, as_json=as_json, debug=bool(context.obj)
    )
    context.exit(code)
