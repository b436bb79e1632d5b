"""`sessiond init`."""

from __future__ import annotations

import click

from sessiond.cli.options import example


@click.command(
    epilog=example(
        "sessiond init",
        "sessiond init --yes --repo owner/name --archive github --hooks --service",
        "sessiond init --yes --archive git@git.example:ann/sessions.git --encrypt",
    )
)
@click.option("--repo", metavar="OWNER/NAME", help="The repository that shows the sessions; `none` for none.")
@click.option(
    "--issue", type=click.IntRange(min=0), metavar="N", help="Show all in this issue; 0: one a project."
)
@click.option("--archive", metavar="URL", help="`github`, a git URL, a folder, or `none`.")
@click.option("--encrypt/--no-encrypt", default=None, help="Encrypt the archive: exact then, else redacted.")
@click.option(
    "--identity",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The identity that opens it (age, or a key of SSH); made where it is missing, never replaced.",
)
@click.option(
    "--hooks/--no-hooks", "hooked", default=None, help="Put hooks into Claude Code's settings, or not."
)
@click.option(
    "--service/--no-service", "served", default=None, help="Start it at each login and now, or not."
)
@click.option(
    "--allow-public", is_flag=True, default=None, help="Also in a repository that everyone can read."
)
@click.option("-y", "--yes", is_flag=True, help="Ask nothing: do what the options say, and leave the rest.")
def command(
    *,
    repo: str | None,
    issue: int | None,
    archive: str | None,
    encrypt: bool | None,
    identity: str | None,
    hooked: bool | None,
    served: bool | None,
    allow_public: bool | None,
    yes: bool,
) -> None:
    """Set sessiond up on this machine: asks for what is needed, and does nothing before it has said what.

    Repository, visibility and rights are checked with GitHub first.  Again: only what is asked for changes.
    """
    from sessiond.cli import setting_up  # noqa: PLC0415 - only for this
    from sessiond.setup import Wish, placed  # noqa: PLC0415

    repo, archive = ("" if text == "none" else text for text in (repo, archive))
    file = None if identity is None else placed(identity)
    wish = Wish(repo, issue, archive, allow_public, hooked, served, encrypt, file)
    setting_up.init(wish, yes=yes)
