"""The best session that can be made of what is left of one.

    exact      lines whose bytes are held somewhere: plain copy, pieces set aside, vault, live file, comment
    inferred   what only the search index, the record or the state still say: words without capitals and
               punctuation, decisions, next steps; and what later lines name that is gone
    missing    gaps, by offset, and by the uuid that a later line goes on from

No exact line is changed: what a later line needs to hang on to (its parent, a tool's call or result) is put
before or behind it, and says of itself that it was inferred.  So the agent can open what comes out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from sessionsync.events import silent
from sessionsync.model import Found, Ref, Role, SessionFile, Summary
from sessionsync.restore.inferred import MARK, Json
from sessionsync.restore.known import Known
from sessionsync.restore.names import grows_by_lines
from sessionsync.restore.pieces import Passage, Version
from sessionsync.restore.remade import Gap, Made, transcript
from sessionsync.restore.remains import Remains
from sessionsync.sources.places import Places
from sessionsync.sources.structured import Structured

CONTEXT = "context.json"


@dataclass(slots=True)
class Reconstruction:
    """What was made of a session: its files, those of which only fragments are held, and those that are lost.

    A fragment is called after its file and its offset.
    """

    files: dict[str, Made] = field(default_factory=dict)
    fragments: dict[str, bytes] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def report(self) -> Json:
        """What is exact, what is inferred and what is missing; of each file, and of each line."""
        return {
            "files": [
                {
                    "path": name,
                    "size": len(made.data),
                    "was": made.length,
                    "status": "exact" if made.exact else "inferred" if not made.count("exact") else "mixed",
                    "exact": made.count("exact"),
                    "inferred": made.count("inferred"),
                    "gaps": [_gap(gap) for gap in made.gaps],
                    "lines": made.lines,
                }
                for name, made in sorted(self.files.items())
            ],
            "fragments": sorted(self.fragments),
            "missing": sorted(self.missing),
            "notes": self.notes,
        }


def _gap(gap: Gap) -> Json:
    return {
        "offset": gap.start,
        "length": gap.end - gap.start,
        "after_uuid": gap.before,
        "before_uuid": gap.after,
        "uuids": list(gap.named),
        "inferred_lines": gap.inferred,
    }


def session(known: Known, remains: Remains) -> Reconstruction:
    """Make the best of what is left of a session; nothing is written."""
    result = Reconstruction(notes=list(remains.notes))
    main = f"{known.session_id}.jsonl" if known.ref.source == "claude" else CONTEXT
    names = {*remains.versions, *remains.lengths, *remains.passages} - remains.deleted
    for name in sorted(names | ({main} if remains.filed or remains.summary else set())):
        versions, passages = remains.versions.get(name, []), remains.passages.get(name, [])
        if grows_by_lines(name):
            made = transcript(
                known.session_id,
                versions,
                length=remains.lengths.get(name, 0),
                passages=passages,
                told=_told(known, remains) if name == main else "",
                cwd=remains.summary.cwd if remains.summary is not None else known.folder,
                is_main=name == main,
            )
            if made.lines:
                result.files[name] = made
            else:
                result.missing.append(name)
        else:
            _document(result, name, versions, passages)
    if known.ref.source == "structured" and main not in result.files:
        result.files[main] = _inferred(_context(known, remains, result), "record")
    return result


def _document(
    result: Reconstruction, name: str, versions: Sequence[Version], passages: Sequence[Passage]
) -> None:
    """A file that is rewritten as a whole: the first version that is whole, else its fragments and words."""
    for version in versions:
        if version.pieces and not version.gaps():
            data = b"".join(piece.data for piece in version.pieces)
            line = {"line": 1, "status": "exact" if version.exact else "inferred", "offset": 0}
            line |= {"from": version.pieces[0].where, "uuid": ""}
            result.files[name] = Made(data, [line], [], len(data))
            return
    result.missing.append(name)
    for version in versions[:1]:
        for piece in version.pieces:
            result.fragments[f"{name}.{piece.offset}.fragment"] = piece.data
    if words := [
        p.words for p in sorted(passages, key=lambda p: (-p.generation, p.offset, p.nth)) if p.words
    ]:
        result.files[f"{name}.words.txt"] = _inferred("\n".join(words) + "\n", "words")


def _inferred(text: str, why: str) -> Made:
    data = text.encode("utf-8", "replace")
    return Made(data, [{"line": 1, "status": "inferred", "from": why, "offset": None, "uuid": ""}], [], 0)


def _facts(known: Known, remains: Remains) -> Json:
    """What the record and the state still tell."""
    record = remains.filed.record if remains.filed is not None else None
    summary = remains.summary
    critical = [c for c in (summary and summary.critical, record and record.critical_data) if c]
    return {
        "title": (summary.title if summary else "") or (record.title if record else "") or known.title,
        "branch": (summary.branch if summary else "") or (record.context.branch if record else ""),
        "current_phase": next((c.current_phase for c in critical if c.current_phase), ""),
        "decisions": list(dict.fromkeys(text for c in critical for text in c.decisions)),
        "next_steps": list(dict.fromkeys(text for c in critical for text in c.next_steps)),
        "checkpoints": list({e.id: msgspec.to_builtins(e) for c in critical for e in c.checkpoints}.values()),
    }


def _told(known: Known, remains: Remains) -> str:
    """The facts as a person, and an agent, reads them."""
    facts = _facts(known, remains)
    lines = ["This session was put together again from what was left of it."]
    for name in ("title", "branch", "current_phase"):
        lines += [f"{name.replace('_', ' ').capitalize()}: {facts[name]}"] if facts[name] else []
    for name in ("decisions", "next_steps"):
        if facts[name]:
            lines += [f"{name.replace('_', ' ').capitalize()}:", *(f"- {text}" for text in facts[name])]
    return "\n".join(lines)


def _context(known: Known, remains: Remains, result: Reconstruction) -> str:
    """A `context.json` of what the record, the state, or else the session's own checkpoints tell."""
    if remains.summary is None:
        remains.summary = _concluded(known, result)
    facts = {name: value for name, value in _facts(known, remains).items() if value}
    return json.dumps(facts | {MARK: True}, ensure_ascii=False, indent=1) + "\n"


def _concluded(known: Known, result: Reconstruction) -> Summary:
    """What a structured session's files that are held say, as if they were captured."""
    source, summary = Structured(Places(list, silent), silent), Summary()
    folder = Path(known.session_id)
    files = [
        SessionFile(name, folder / name, Role.PART, len(made.data), number, 0)
        for number, (name, made) in enumerate(sorted(result.files.items()))
    ]
    found = Found(Ref("structured", known.session_id), folder, folder, tuple(files))
    source.conclude(summary, found, lambda name: made.data if (made := result.files.get(name)) else None)
    return summary
