"""What people and their agents call the parts of a note: sections, fields and the three states.

A word counts without regard to case, to marks around it, and to how an apostrophe is written.
"""

from __future__ import annotations

import unicodedata
from urllib.parse import urlsplit

from sessionsync.sources.prose import TITLE_CHARS

SECTIONS = {
    "metadata": "metadata|session metadata|details",
    "context": "context summary|context|summary|session summary|final session summary|overview"
    "|session overview|what we are building|objective|background|current state|problem|problem statement",
    "known": "what we know|what we have learned|key findings|key finding|findings|root cause"
    "|root cause analysis|key learnings|lessons learned",
    "worked": "successful approaches|what worked|what works|what we tried successful|solution|solutions"
    "|the fix|key accomplishments|completed|what was completed|issues fixed",
    "failed": "failed approaches|what did not work|what didnt work|what failed|what does not work"
    "|what we tried failed|what did not work and why|dead ends",
    "untried": "not yet attempted|not yet tried|what has not been tried yet|what we havent tried yet"
    "|what we have not tried yet|untried|ideas",
    "next": "next steps|next step|exact next step|whats next|what is next|notes for next session"
    "|next session|remaining|remaining work|remaining tasks|todo|to do|todos|pending tasks",
    "decisions": "technical decisions|technical decisions made|decisions|decision|decisions made"
    "|key decisions|key decisions made|design decisions|architecture decisions|architectural decisions",
    "issues": "known issues|issues|known problems|problems|risks|known risks|open issues",
    "blockers": "dependencies blockers|dependencies and blockers|dependencies|blockers"
    "|blockers open questions|blockers and open questions|blockers encountered|open questions",
    "continuity": "session continuity|continuity|context to load|environment|environment setup notes"
    "|environment and setup notes|how to continue",
    "metrics": "session metrics|metrics|stats|statistics",
    "progress": "current progress|progress|in progress|current status|current work|current state of files",
    "phase": "current phase|phase",
    "status": "status|session status",
    "tasks": "tasks|goals|goal|session goals",
}
_OF_TITLE = {title: name for name, titles in SECTIONS.items() for title in titles.split("|")}
FIELDS = {
    "created": "created|createdat|started|startedat|starttime|sessionstarted|begun",
    "date": "date|sessiondate",
    "updated": "updated|lastupdated|updatedat|lastmodified|lastsaved|lastactivity",
    "ended": "ended|endedat|endtime|sessionended|completedat|finished",
    "status": "status|sessionstatus|state",
    "phase": "phase|currentphase",
    "thread": "thread|threadlink|threadurl|threadid|sessionlink|link|discussion",
    "issue": "issue|githubissue|issuenumber|issuelink|ticket",
    "pr": "pr|pullrequest|prnumber|githubpr",
    "branch": "branch|gitbranch",
    "worktree": "worktree|cwd|workingdirectory|projectpath",
    "session": "session|sessionid",
    "title": "title|topic",
}
_OF_KEY = {key: name for name, keys in FIELDS.items() for key in keys.split("|")}
TIMES = frozenset({"created", "date", "updated", "ended"})
STATES = {
    "in_progress": "in progress|inprogress|active|wip|ongoing|working|started|open|underway",
    "completed": "completed|complete|done|finished|closed|resolved|merged|success",
    "blocked": "blocked|stuck|waiting|on hold|paused|suspended",
}
_OF_STATE = {word: state for state, words in STATES.items() for word in words.split("|")}
_NOT = frozenset({"not", "no", "un", "never", "partially", "almost", "half"})


def state_of(text: str) -> str:
    """Return which of the three states a text means; '' where it means none of them.

    >>> state_of("✅ **COMPLETED**")
    'completed'
    """
    words = words_of(text)[:6]
    for at, word in enumerate(words):
        if word in _NOT:
            return ""
        for said in (" ".join(words[at : at + 2]), word):
            if said in _OF_STATE:
                return _OF_STATE[said]
    return ""


def section_of(title: str) -> str:
    """The section that a heading begins, also after a number or before `(with evidence)`; '' if none."""
    for text in (title, title.partition("(")[0]):
        words = words_of(text)
        while words:
            if name := _OF_TITLE.get(" ".join(words)):
                return name
            if not (words[0].isdigit() or words[0] in {"the", "our", "my"}):
                break
            words = words[1:]
    return ""


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without marks; `What We've Tried` is `what we tried`."""
    text = unicodedata.normalize("NFKC", text[: TITLE_CHARS * 2]).casefold()
    text = text.replace("\u2019", "'").replace("'ve ", " ").replace("'", "").replace("_", " ")
    return "".join(c if c.isalnum() else " " for c in text).split()


def field_of(text: str) -> str:
    """The field that a key names, `Last Updated` as `updated`; '' if none."""
    return _OF_KEY.get("".join(words_of(text)), "")


def says(text: str) -> bool:
    """Whether an entry is one: `None` and `n/a` are not."""
    words = words_of(text)
    return bool(words) and words[0] not in {"none", "nothing", "na"} and words != ["n", "a"]


def reference(text: str) -> tuple[int, str, str]:
    """An issue's or pull request's number, its repository, and which of both an address says it is."""
    for word in text.split():
        word = word.strip("<>()[],.;")  # noqa: PLW2901 - the same word
        if "://" in word:
            try:
                parts = urlsplit(word).path.strip("/").split("/")
            except ValueError:
                continue
            if len(parts) > 3 and parts[2] in {"issues", "pull"} and _number(parts[3]):
                kind = "issue" if parts[2] == "issues" else "pr"
                return _number(parts[3]), f"{parts[0]}/{parts[1]}", kind
            continue
        repository, hash_, digits = word.rpartition("#")
        if number := _number(digits if hash_ else word.upper().removeprefix("GH-")):
            return number, repository if repository.count("/") == 1 else "", ""
    return 0, "", ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
