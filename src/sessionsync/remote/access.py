"""Whether sessions may go to a repository, and whether its token may do more than that takes."""

from __future__ import annotations

from collections.abc import Iterable

from sessionsync.errors import NotPermitted, RepositoryMissing, RepositoryPublic
from sessionsync.remote.answers import Repository

ENOUGH = "A fine-grained token with Issues: read and write and Metadata: read is enough."
"""What a token needs; with the archive in the same repository also Contents: read and write."""
SAY_SO = "set github.allow_public = true"


def check(found: Repository, *, allow_public: bool, issues: bool = True, say_so: str = SAY_SO) -> None:
    """See that a repository of GitHub's may hold sessions, with `issues` in its issues.

    Raises:
        RepositoryPublic: it is public, and nobody said that this is meant; `say_so` is how.
        NotPermitted: it is archived, or GitHub has disabled it.
        RepositoryMissing: its issues are turned off.
    """
    what = f"The repository {found.full_name}"
    check_visibility(what, public=not found.private, allow_public=allow_public, say_so=say_so)
    if found.archived:
        raise NotPermitted(f"{what} is archived and takes nothing.", hint="Unarchive it.")
    if found.disabled:
        raise NotPermitted(f"{what} is disabled by GitHub and takes nothing.", hint="See its page on GitHub.")
    if issues and not found.has_issues:
        said = f"Issues are turned off in the repository {found.full_name}."
        raise RepositoryMissing(said, hint="Turn them on in its settings.")


def check_visibility(what: str, *, public: bool, allow_public: bool, say_so: str = SAY_SO) -> None:
    """See that not everyone can read what goes there.

    Raises:
        RepositoryPublic: everyone can, and nobody said that this is meant.
    """
    if public and not allow_public:
        raise RepositoryPublic(
            f"{what} is public: sessions would be readable by everyone.",
            hint=f"Use a private repository, or {say_so} if this is meant.",
        )


def beyond(scopes: Iterable[str] | None) -> str:
    """The scopes of a classic token, all of which reach further than one repository; '' where it has none.

    Fine-grained tokens do not say what they may, so nothing can be said of them.
    """
    return ", ".join(sorted(scopes or ()))
