"""`sessiond observe`."""

from __future__ import annotations

import os

import click

from sessiond.cli.look import tell
from sessiond.cli.options import as_json, example
from sessionsync.paths import paths


@click.command(epilog=example("sessiond observe > /etc/prometheus/prometheus.yml", "sessiond observe --json"))
@as_json
def command(*, as_json: bool) -> None:
    """Print a configuration for Prometheus, with where the alert rules and the Grafana dashboard lie."""
    from sessiond.cli import observing  # noqa: PLC0415 - only for this
    from sessionsync.config import load  # noqa: PLC0415

    config = load(os.environ, paths(os.environ).config_file)
    tell(observing.found(config), observing.render, as_json=as_json)
