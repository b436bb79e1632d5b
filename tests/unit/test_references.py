"""What of a session refers to what, and whether it is there."""

from pathlib import Path

from sessionsync.vault.references import references
from sessionsync.vault.verify import JOURNAL, MIRROR, VAULT, Bad, Expected


def files(*names: str) -> list[Expected]:
    return [Expected(name, Path(name), 0, 10, 10, "", ()) for name in names]


def gone(name: str, store: str = VAULT, result: str = "missing") -> Bad:
    return Bad(store, name, 0, 0, 10, result, "is not there")


CLAUDE = files(
    "5f0c2f6e.jsonl", "5f0c2f6e/subagents/agent-1.jsonl", "agent-2.jsonl", "5f0c2f6e/tool-results/3.txt"
)


def test_what_is_there_is_referred_to_rightly() -> None:
    assert references(CLAUDE, ["a", "b"], []) == {
        ("checkpoint", "ok"): 2,
        ("subagent", "ok"): 2,
        ("parent", "ok"): 1,
    }
    assert references(files("context.json", "artifacts/plan.md", "artifacts/a/b.png"), [], []) == {
        ("artifact", "ok"): 2
    }
    assert references(files("5f0c2f6e.jsonl"), [], []) == {}


def test_what_the_vault_lacks_is_broken() -> None:
    bad = [gone(JOURNAL), gone("agent-2.jsonl"), gone("5f0c2f6e.jsonl")]
    assert references(CLAUDE, ["a", "b"], bad) == {
        ("checkpoint", "ok"): 1,
        ("checkpoint", "broken"): 1,
        ("subagent", "ok"): 1,
        ("subagent", "broken"): 1,
        ("parent", "broken"): 1,
    }
    artifact = files("artifacts/plan.md")
    assert references(artifact, [], [gone("artifacts/plan.md")]) == {("artifact", "broken"): 1}


def test_damage_is_no_broken_reference_and_neither_is_what_another_copy_has() -> None:
    artifact = files("artifacts/plan.md")
    for bad in (gone("artifacts/plan.md", MIRROR), gone("artifacts/plan.md", result="mismatch")):
        assert references(artifact, [], [bad]) == {("artifact", "ok"): 1}


def test_a_subagent_without_the_transcript_that_called_it() -> None:
    assert references(files("5f0c2f6e/subagents/agent-1.jsonl"), [], []) == {
        ("subagent", "ok"): 1,
        ("parent", "broken"): 1,
    }
