"""GitHub, asked as the daemon asks it, but for writing."""

from __future__ import annotations

from sessiond.doctor.here import DAY_S, FAILED, OK, WARNING, Here, Said
from sessiond.token import LOG_IN, renewal
from sessionsync.errors import RemoteError, TokenRefused
from sessionsync.remote import access
from sessionsync.remote.answers import Repository

SKEW_S = 60.0
ENDS_SOON_S = 7 * DAY_S


def token(here: Here) -> Said:
    """Whether there is a token, where one is needed."""
    token = here.token
    if token is not None:
        return Said(OK, f"A token was found in {token.source}.")
    if here.settings.github.repo:
        return Said(FAILED, "There is no token for GitHub.", LOG_IN)
    return Said(OK, "There is no token, and without a repository none is needed.")


def answers(here: Here) -> Said:
    """Whether GitHub answers for the repository with this token."""
    found = here.repository
    if found is None:
        repo = here.settings.github.repo
        if not repo and here.settings.has_archive:
            return Said(OK, "No repository is set: everything goes to the archive alone.")
        if not repo:
            return Said(
                WARNING,
                "No repository is set: everything stays on this machine.",
                f"Set github.repo in {here.paths.config_file}.",
            )
        return Said(FAILED, f"{repo} cannot be asked without a token.", LOG_IN)
    if isinstance(found, TokenRefused):
        token = here.token
        return Said(FAILED, str(found), renewal(token) if token is not None else LOG_IN, found.code)
    if isinstance(found, RemoteError):
        return Said(
            FAILED, str(found), found.hint or "Check the name, the address and the network.", found.code
        )
    return Said(OK, f"{here.settings.github.api_url} answers.")


def repository(here: Here) -> Said:
    """Whether sessions may go to the repository."""
    found = here.repository
    if not isinstance(found, Repository):
        return Said(OK, "Not asked.")
    try:
        access.check(found, allow_public=here.settings.github.allow_public)
    except RemoteError as error:
        return Said(FAILED, str(error), error.hint, error.code)
    name = found.full_name
    return Said(OK, f"{name} is {'private' if found.private else 'public, as is allowed'} and has issues.")


def rights(here: Here) -> Said:
    """What the token may do, as far as GitHub tells without a write."""
    found, github = here.repository, here.github
    if not isinstance(found, Repository) or github is None:
        return Said(OK, "Not asked.")
    scopes = github.token_scopes
    wanted = "Give it a fine-grained token with Issues: read and write, Metadata: read."
    if found.permissions is not None and not found.permissions.push:
        return Said(WARNING, f"The token's account may only read {found.full_name}.", wanted)
    if scopes is not None and not scopes & {"repo", *({"public_repo"} if not found.private else ())}:
        told = ", ".join(sorted(scopes)) or "none"
        return Said(FAILED, f"The token's scopes ({told}) do not allow comments.", "Give it the scope repo.")
    try:
        github.find_issues()
    except RemoteError as error:
        return Said(FAILED, str(error), error.hint or wanted, error.code)
    if (ends := github.token_expires_at) is not None and ends - here.now < ENDS_SOON_S:
        days = max(0.0, (ends - here.now) / DAY_S)
        return Said(WARNING, f"The token ends in {days:.0f} days.", "Renew it before that.")
    wide = access.beyond(scopes)
    more = f" Its scopes ({wide}) allow more than is needed. {access.ENOUGH}" if wide else ""
    return Said(OK, f"It may read issues.{more}")


def clock(here: Here) -> Said:
    """Whether this machine's clock and GitHub's agree."""
    _ = here.repository
    skew = here.github.skew_s if here.github is not None else None
    if skew is None:
        return Said(OK, "Not compared: GitHub was not asked.")
    if abs(skew) > SKEW_S:
        return Said(
            WARNING,
            f"This machine's clock is {abs(skew):,.0f} s {'behind' if skew > 0 else 'ahead of'} GitHub's.",
            "Turn time synchronisation on: sudo timedatectl set-ntp true",
        )
    return Said(OK, "This machine's clock and GitHub's agree.")
