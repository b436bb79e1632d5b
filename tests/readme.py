"""The README as its reader types it."""

from __future__ import annotations

import re

from tests.conftest import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
_SECTION = re.compile(r"^## (.*)$", re.MULTILINE)


def blocks(kind: str, section: str = "") -> list[str]:
    """The fenced blocks of a kind, of the whole page or of one section."""
    text = TEXT
    if section:
        _, _, behind = TEXT.partition(f"\n## {section}\n")
        text = _SECTION.split(behind)[0]
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def typed(section: str = "") -> list[str]:
    """The commands in console blocks, without their comments."""
    lines = [line for block in blocks("console", section) for line in block.splitlines()]
    return [re.sub(r"\s+#\s.*$", "", line[2:]) for line in lines if line.startswith("$ ")]


def named() -> list[str]:
    """Every command of sessiond's that stands within a sentence or a table."""
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"`(?:eval \"\$\()?(sessiond [^`)]*)(?:\)\")?`", prose)
    # a table names a group's commands once: `sessiond hooks install`, `uninstall`, `status`
    for row in re.findall(r"^\| (`sessiond .*?) \|", prose, re.MULTILINE):
        first, *others = re.findall(r"`([^`]*)`", row)
        above = first.split()[
            : 3 if first.split()[1] in {"ctl", "hooks", "service", "note", "privacy"} else 2
        ][:-1]
        found += [" ".join([*above, other]) for other in others if not other.startswith(("-", "sessiond"))]
    return sorted(set(found))
