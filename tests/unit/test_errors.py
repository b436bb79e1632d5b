"""The tree of errors, as its module draws it."""

from __future__ import annotations

import re

from sessionsync import errors
from sessionsync.errors import DaemonError, SessiondError


def drawn() -> dict[str, str]:
    """Each error in the drawing, and the one that it hangs below."""
    above: list[str] = []
    found = {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    (?P<indent>[│ ]*)(?:[├└]── )?(?P<name>[A-Z]\w+)(?:  .*)?$", line):
            depth = (match.start("name") - 4) // 4
            above[depth:] = [match["name"]]
            found[match["name"]] = above[depth - 1] if depth else ""
    return found


def kinds() -> list[type[SessiondError]]:
    return [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, SessiondError)]


def test_every_error_stands_in_the_tree_below_its_parent() -> None:
    parents = {kind.__name__: [p.__name__ for p in kind.__bases__] for kind in kinds()}
    assert drawn() == {name: parent if parent != "Exception" else "" for name, (parent,) in parents.items()}


def test_every_error_has_a_code_of_its_own() -> None:
    # what the daemon answered has the code of what went wrong there
    codes = [kind.code for kind in kinds() if kind is not DaemonError]
    assert len(set(codes)) == len(codes)
