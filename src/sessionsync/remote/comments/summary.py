"""What a person reads of a session: what it was, what was decided, what is next, how to go on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sessionsync.model import Tier
from sessionsync.remote.comments.draft import Draft
from sessionsync.remote.comments.inert import code, fenced, one_line, plain, shell_word

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d(?:\.\d+)?Z")


class Detail(NamedTuple):
    """How much is told: entries of each list, characters of an entry and of the title, scores."""

    entries: int
    entry_chars: int
    title_chars: int
    scores: int


DETAILS = (Detail(5, 240, 120, 8), Detail(3, 120, 100, 4), Detail(1, 80, 80, 0), Detail(0, 0, 40, 0))
"""From the fullest to the barest."""


def summary(draft: Draft, detail: Detail, parts: int) -> str:
    """Markdown that shows the draft as it is meant to be read, and does nothing else."""
    blocks = [
        f"### {plain(draft.record.title, detail.title_chars) or 'Untitled session'}",
        _facts(draft, detail),
        _entries("Decided", draft.record.critical_data.decisions[::-1], detail),
        _entries("Next", draft.record.critical_data.next_steps, detail),
        f"**Resume**\n\n{fenced('sh', _commands(draft))}",
        _whereabouts(draft, parts),
    ]
    return "\n\n".join(block for block in blocks if block)


def size_text(size: int) -> str:
    """Bytes for people: KB are 1024 bytes."""
    if size < 1024:
        return f"{size} bytes" if size != 1 else "1 byte"
    if size < 1024 * 1024:
        return f"{size / 1024:.1f} KB"
    return f"{size / 1024 / 1024:.1f} MB"


def _facts(draft: Draft, detail: Detail) -> str:
    record = draft.record
    chars = max(40, detail.title_chars // 2)
    facts = {
        "Project": plain(draft.project, chars),
        "Host": plain(record.host, chars),
        "Branch": code(branch) if (branch := one_line(record.context.branch, chars)) else "",
        "Phase": plain(record.critical_data.current_phase, chars),
        "Status": plain(draft.status.replace("_", " "), chars),
        "Updated": _time(record.updated_at),
    }
    lines = [" · ".join(f"**{name}** {value}" for name, value in facts.items() if value)]
    if scores := list(draft.quality.items())[: detail.scores]:
        lines.append("**Quality** " + " · ".join(f"{plain(name, 40)} {value:.4g}" for name, value in scores))
    return "\\\n".join(lines)


def _entries(name: str, texts: Sequence[str], detail: Detail) -> str:
    shown = [plain(text, detail.entry_chars) for text in texts[: detail.entries]]
    lines = [f"- {text}" for text in shown if text]
    if lines and len(texts) > detail.entries:
        lines.append(f"- and {len(texts) - detail.entries} more, in the record below")
    return f"**{name}**\n" + "\n".join(lines) if lines else ""


def _commands(draft: Draft) -> str:
    name, source = draft.session_id, draft.record.source
    if name.startswith("-"):  # no option
        name = f"{source}:{name}"
    commands = [f"sessiond restore {shell_word(name)}"]
    if source == "context" and (issue := draft.record.context.issue):
        commands = [f"sessiond restore --for-issue {issue}"]  # with what was said on it since
    if source == "claude":
        # a second session of one id has a longer name here, but not there
        uuid = _UUID.match(draft.session_id)
        commands.append(f"claude --resume {uuid[0] if uuid else shell_word(draft.session_id)}")
    return "\n".join(commands)


def _whereabouts(draft: Draft, parts: int) -> str:
    """Which tier, how large, where all bytes are, and what is not as it was."""
    record = draft.record
    files = f"{record.files_total} file{'s' * (record.files_total != 1)}"
    grown = f", grown from `{draft.promoted_from}`" if draft.promoted_from else ""
    backup = f"the backup on {plain(record.host, 40) or 'its machine'}"
    backup += " and go to the archive" * draft.archived
    if draft.packed is None:
        here = "only a summary is here" if record.tier is Tier.LOCAL_PRIMARY else "the critical data is here"
        where = f"{here}, all bytes are in {backup}"
    else:
        where = (
            "all bytes are in this comment"
            if parts == 1
            else f"all bytes are in {parts} comments, of which this is the first"
        )
    said = [f"Tier `{record.tier}`{grown}", f"{size_text(record.size)} in {files}", where]
    if record.redactions:
        secrets = "1 secret was" if record.redactions == 1 else f"{record.redactions} secrets were"
        said.append(f"{secrets} redacted before it left {plain(record.host, 40) or 'its machine'}")
    return f"<sub>{' · '.join(said)}</sub>"


def _time(text: str) -> str:
    match = _TIME.fullmatch(text)
    return f"{match[1]} {match[2]} UTC" if match else plain(text, 40)
