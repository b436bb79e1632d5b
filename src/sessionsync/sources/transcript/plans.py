"""What was decided, what is being done, and what is next: from tools, plans and summaries of the agent."""

from __future__ import annotations

import re

from sessionsync.model import Summary
from sessionsync.sources import prose
from sessionsync.sources.transcript.rows import Block, Row, field, text_of, value
from sessionsync.sources.transcript.state import State
from sessionsync.sources.transcript.turns import ENTRIES

ID_CHARS = 64
"""Of a call, a line or a version."""
_WAITING = 32
_ANSWER = re.compile(r'"([^"]+)"="([^"]*)"')
_TASK = re.compile(r"Task #(\S+) created")
HEEDED = frozenset({"TodoWrite", "TaskUpdate", "TaskCreate", "ExitPlanMode", "AskUserQuestion"})
"""The tools whose calls say something of that."""


class Plans:
    """Takes in what bears on that; works on the state and on the summary's decisions."""

    def __init__(self, summary: Summary, state: State) -> None:
        self._summary = summary
        self._state = state

    def store(self) -> None:
        """Write phase and next steps into the summary; the agent's own lists go before plans and prompts."""
        critical, state = self._summary.critical, self._state
        critical.current_phase = state.agenda.active() or state.phase or state.titles.get("last", "")
        critical.next_steps = (state.agenda.pending() or state.steps)[-ENTRIES:]

    def call(self, call: Block) -> None:
        """Take in a call of a tool, as far as that says anything."""
        if call.name not in HEEDED:
            return
        state, subject = self._state, ""
        match call.name:
            case "TodoWrite":
                state.agenda.replace_todos(field(call.input, "todos"))
                return
            case "TaskUpdate":
                state.agenda.update_task(value(call.input))
                return
            case "TaskCreate":
                subject = text_of(field(call.input, "subject"))
            case "ExitPlanMode":
                subject = text_of(field(call.input, "plan"))[: prose.TEXT_CHARS]
                state.phase = _planned(subject) or state.phase
        if call.id and call.name and len(state.waiting) < _WAITING:
            state.waiting[call.id[:ID_CHARS]] = [call.name, subject[: prose.TEXT_CHARS]]

    def result(self, row: Row, result: Block) -> None:
        """Take in what a tool gave back."""
        tool, subject = self._state.waiting.pop((result.tool_use_id or "")[:ID_CHARS], ("", ""))
        if not tool or result.is_error:
            return
        outcome = value(row.tool_use_result)
        if not isinstance(outcome, dict):
            outcome = {}
        match tool:
            case "AskUserQuestion":
                answers = outcome.get("answers")
                if not isinstance(answers, dict):
                    answers = dict(_ANSWER.findall(text_of(value(result.content))))
                for question, answer in answers.items():
                    self._decide(_settled(str(question), answer))
            case "ExitPlanMode":
                plan = outcome.get("plan")
                self.adopt(plan if isinstance(plan, str) and plan else subject)
            case "TaskCreate":
                task = outcome.get("task")
                number = task.get("id") if isinstance(task, dict) else None
                if number is None and (match := _TASK.search(text_of(value(result.content)))):
                    number = match[1]
                if number is not None:
                    self._state.agenda.create_task(number, subject)

    def adopt(self, plan: str) -> None:
        """Take in a plan that the user has approved."""
        state, title = self._state, prose.plan_title(plan)
        if title:
            self._decide(f"Plan approved: {title}")
            state.phase = _planned(plan)
            state.steps = prose.plan_steps(plan)

    def go_on(self, text: str) -> None:
        """Take in the summary that the agent goes on with: what it was doing, and what is next."""
        state = self._state
        sections = list(prose.sections(text))
        found = {section.title.lower(): section for section in sections}
        if work := found.get("current work"):
            state.phase = prose.clip(work.first_paragraph()) or state.phase
        steps = prose.steps(found["pending tasks"].items()) if "pending tasks" in found else []
        for title in ("optional next step", "next step", "next steps"):
            if title in found:
                paragraph = found[title].first_paragraph()
                steps += prose.steps(found[title].items() if title == "next steps" else [paragraph])
        state.steps = steps
        if prose.may_decide(text):
            for decision in prose.decided(sections):
                self._decide(decision)

    def words(self, text: str) -> None:
        """Take in the decisions in what the agent says."""
        for decision in prose.decisions(text):
            self._decide(decision)

    def _decide(self, decision: str) -> None:
        decided = self._summary.critical.decisions
        text = prose.clip(decision)
        if text and text not in decided:
            decided.append(text)
            del decided[:-ENTRIES]


def _settled(question: str, answer: object) -> str:
    if isinstance(answer, list):
        answer = ", ".join(str(part) for part in answer)
    chosen = prose.clip(str(answer), 240).removesuffix(" (Recommended)")
    return f"{prose.clip(question, 240)} → {chosen}" if chosen else ""


def _planned(plan: str) -> str:
    title = prose.plan_title(plan)
    return f"Plan: {title}" if title else ""
