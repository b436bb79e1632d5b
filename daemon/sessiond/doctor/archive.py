"""The archive in git: whether it answers, and whether what is encrypted can be read again."""

from __future__ import annotations

import os

from sessiond.doctor.here import FAILED, OK, WARNING, Here, Said
from sessionsync import age
from sessionsync.errors import ConfigError
from sessionsync.privacy import seal
from sessionsync.remote.archive.address import address_of
from sessionsync.remote.archive.git import Git
from sessionsync.remote.archive.host import Host


def answers(here: Here) -> Said:
    """Whether the archive answers, and may hold sessions."""
    address = address_of(here.settings)
    if address is None:
        if here.settings.archive.url:
            return Said(
                WARNING, "The archive is to lie in the repository, and none is set.", "Set github.repo."
            )
        return Said(OK, "None is set.")
    if address.folder is not None and not address.folder.exists():
        above = address.folder.parent
        if not above.is_dir() or not os.access(above, os.W_OK):
            return Said(FAILED, f"{address.folder} cannot be made.", f"See that {above} is there and yours.")
        return Said(OK, f"{address.folder} is made at the first checkpoint.")
    try:
        token = here.token
    except ConfigError:
        token = None
    git = Git(
        address,
        here.environ,
        here.paths.state_dir / "git",
        token=lambda: token.value if token is not None else "",
    )
    git.check()
    host = Host(git)
    refs = host.refs(here.now)
    if not here.settings.github.allow_public and host.is_public():
        return Said(FAILED, "The archive is readable by everyone.", "Make it private.")
    return Said(OK, f"It answers, with {len(refs)} refs of sessiond's.")


def encryption(here: Here) -> Said:
    """Whether what is archived from here can be read with the identity that is here: it is tried."""
    settings = here.config.archive
    file, recipients = settings.identity_file, len(settings.encrypt_to)
    if file is None and not recipients:
        return Said(OK, "Not wanted: what is archived is redacted.")
    known = seal.identities(file) if file is not None else []
    try:
        opens = not recipients or seal.opens(settings.encrypt_to, known)
    except age.Unavailable as problem:
        return Said(FAILED, f"It cannot be done: {problem}.", seal.INSTALL)
    if file is None:
        message = "The archive is encrypted, and no identity is here: this machine writes"
        return Said(OK, f"{message}, and neither restores from there, nor mends, nor hears of others.")
    if not opens:
        hint = f"Add its recipient to archive.encrypt_to: {known[0].recipient or 'ssh-keygen -y prints it'}"
        return Said(FAILED, f"The archive is encrypted for others than the identity in {file}.", hint)
    if file.stat().st_mode & 0o077:
        return Said(WARNING, f"{file} can be read by others.", f"chmod 600 {file}")
    others = f", and {recipients - 1} more" if recipients > 1 else ""
    written = f"The archive is encrypted for the identity in {file}{others}; it opens it."
    return Said(OK, written if recipients else f"Nothing is encrypted from here; {file} reads what is.")
