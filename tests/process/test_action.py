"""The GitHub Action: its steps run with bash on fresh runners, beside a stand-in GitHub and a real git server."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from sessionsync.restore import loadable
from tests.archive import refs_of
from tests.fakes.agent import Agent
from tests.fakes.git_host import GitHost
from tests.fakes.github import FakeGitHub
from tests.runner import ACTION, REPO, ROOT, Runner, about_issue, about_pull

TOKEN = "ghs_" + "ThisIsTheTokenOfTheJob12345678901234"
READ_ONLY = "ghs_" + "ThisIsTheTokenOfAFork123456789012345"
OTHER = "1c1f8e63-69e8-4de5-8a40-7b7f6d0d2b22"
# As GitHub documents them for a composite action.
KEYS = {"name", "author", "description", "branding", "inputs", "outputs", "runs"}
STEP_KEYS = {
    "id",
    "name",
    "if",
    "run",
    "shell",
    "env",
    "working-directory",
    "uses",
    "with",
    "continue-on-error",
}
# Of the 1,000 an hour that a job's token has, for both steps
MOST_REQUESTS = 20


@pytest.fixture
def gh() -> Iterator[FakeGitHub]:
    with FakeGitHub() as made:
        made.add_repo(REPO)
        made.token(TOKEN, kind="actions")
        made.token(READ_ONLY, kind="actions", permissions={"issues": "read", "metadata": "read"})
        for number in (1, 2):
            assert made.add_issue(REPO, f"Task {number}")
        yield made


@pytest.fixture
def host(tmp_path: Path, gh: FakeGitHub) -> Iterator[GitHost]:
    with GitHost(tmp_path / "repos", token=TOKEN, api=gh.url) as made:
        made.make(REPO)
        yield made


@pytest.fixture
def job(socket_dir: Path, host: GitHost) -> Any:
    def start(folder: str, event: dict[str, Any], **settings: Any) -> Runner:
        usual = {"api_url": host.base, "token": TOKEN, "checkout": f"{folder}/r"}
        return Runner(socket_dir / folder, event=event, **usual | settings)

    return start


def an_agent(runner: Runner, prompt: str, session: str = Agent().session) -> Agent:
    agent = Agent(cwd=str(runner.checkout), session=session)
    agent.turn(prompt)
    return agent


def test_it_has_the_keys_that_github_documents_and_no_others() -> None:
    assert ACTION.keys() <= KEYS
    assert ACTION["runs"].keys() == {"using", "steps"}
    assert ACTION["runs"]["using"] == "composite"
    for step in ACTION["runs"]["steps"]:
        assert step.keys() <= STEP_KEYS
        assert "run" not in step or "shell" in step  # required there
        assert "${{" not in step.get("run", "")  # what others have written must not become a script
    for said in ACTION["inputs"].values():
        assert said.keys() <= {"description", "required", "default", "deprecationMessage"}
    for said in ACTION["outputs"].values():
        assert said.keys() == {"description", "value"}
    named = re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text())
    assert set(named) == ACTION["inputs"].keys()


def test_the_workflow_of_the_readme_uses_it_as_it_is() -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (job,) = yaml.safe_load(text)["jobs"].values()
    uses = [step for step in job["steps"] if "sessiond" in step.get("uses", "")]
    assert [step["with"]["mode"] for step in uses] == ["restore", "save"]
    assert all(step["with"].keys() <= ACTION["inputs"].keys() for step in uses)
    assert uses[1]["if"] == "always()"
    read = re.findall(rf"steps\.{uses[0]['id']}\.outputs\.([\w-]+)", text)
    assert read
    assert set(read) <= ACTION["outputs"].keys()
    assert job["permissions"]["issues"] == job["permissions"]["contents"] == "write"


@pytest.mark.parametrize("big", [False, True])
def test_the_next_job_about_an_issue_goes_on(job: Any, gh: FakeGitHub, *, big: bool) -> None:
    one = job("one", about_issue(1), name="issues")
    first = one.use("restore")
    assert (first.code, first.warnings, first.outputs["resumed"]) == (0, [], "false"), first.said
    assert first.outputs["session-id"] == first.outputs["claude-args"] == ""
    agent = an_agent(one, "start here" + " and tell it all" * (20_000 if big else 1))
    one.write(agent)
    gh.forget_requests()
    saved = one.use("save")
    assert (saved.code, saved.warnings, saved.outputs["saved"]) == (0, [], "true"), saved.said
    assert saved.summary.count("\n") == 1
    assert f"nothing resumed; saved to a comment and the archive (`{agent.session}`)" in saved.summary
    assert gh.comments(REPO, 1)  # on the issue that the event names
    two = job("two", about_issue(1), name="issues", checkout="elsewhere/r")
    put = two.use("restore")
    assert (put.code, put.warnings, put.outputs["resumed"]) == (0, [], "true"), put.said
    assert put.outputs["claude-args"] == f"--resume {agent.session}"
    there = two.transcript(agent.session)
    assert there.read_bytes() == agent.data
    assert there.stat().st_mode & 0o777 == 0o600
    assert not loadable(there)
    agent.turn("and on")
    two.write(agent)
    saved = two.use("save")
    assert saved.outputs["saved"] == "true", saved.said
    assert re.search(
        rf"resumed `{agent.session}` from \w+ in [\d.]+ s \(.* MB\); saved to a comment and", saved.summary
    )
    assert len(gh.comments(REPO, 1)) == 1 or not big
    three = job("three", about_issue(1), name="issues")
    assert three.use("restore").outputs["session-id"] == agent.session
    assert three.transcript(agent.session).read_bytes() == agent.data
    assert len(gh.requests()) < 2 * MOST_REQUESTS


def test_two_jobs_at_once_on_one_session_lose_nothing(job: Any) -> None:
    first = job("first", about_pull(2))
    agent = an_agent(first, "start")
    first.write(agent)
    assert first.use("save").outputs["saved"] == "true"
    jobs = [job(name, about_pull(2)) for name in ("left", "right")]
    with ThreadPoolExecutor(2) as both:
        assert [ran.outputs["session-id"] for ran in both.map(lambda each: each.use("restore"), jobs)] == [
            agent.session
        ] * 2
        versions = []
        for number, each in enumerate(jobs):
            more = Agent(cwd=str(each.checkout), session=agent.session, seed=number + 5)
            more.turn(f"turn of job {number}")
            path = each.transcript(agent.session)
            path.write_bytes(path.read_bytes() + more.data)
            versions.append(path.read_bytes())
        ran = list(both.map(lambda each: each.use("save"), jobs))
    assert [each.code for each in ran] == [0, 0]
    assert [each.outputs["saved"] for each in ran] == ["true", "true"], [each.said for each in ran]
    last = job("last", about_pull(2))
    put = last.use("restore")
    lines = set(last.transcript(agent.session).read_bytes().splitlines())
    assert all(set(version.splitlines()) <= lines for version in versions), put.said


def test_two_jobs_at_once_on_two_issues_are_kept_apart(job: Any) -> None:
    jobs = [job(f"job{number}", about_issue(number), name="issues") for number in (1, 2)]
    agents = [an_agent(jobs[0], "of one"), an_agent(jobs[1], "of two", OTHER)]
    for each, agent in zip(jobs, agents, strict=True):
        each.write(agent)
    with ThreadPoolExecutor(2) as both:
        ran = list(both.map(lambda each: each.use("save"), jobs))
    assert [each.outputs["saved"] for each in ran] == ["true", "true"], [each.said for each in ran]
    for number, agent in enumerate(agents, 1):
        next_one = job(f"next{number}", about_issue(number), name="issues")
        assert next_one.use("restore").outputs["session-id"] == agent.session
        assert next_one.transcript(agent.session).read_bytes() == agent.data


def test_a_pull_request_from_a_fork_is_told_and_goes_on(job: Any, host: GitHost, gh: FakeGitHub) -> None:
    runner = job("fork", about_pull(2, head="stranger/r"), token=READ_ONLY)
    host.token = READ_ONLY
    agent = an_agent(runner, "hello")
    path = runner.write(agent)
    assert runner.use("restore").code == 0
    saved = runner.use("save", timeout="10", archive="")
    assert (saved.code, saved.outputs["saved"]) == (0, "false")
    assert "comes from a fork" in " ".join(saved.warnings)
    assert "comes from a fork" in saved.summary
    assert not gh.requests(writes=True, status=201)
    assert path.read_bytes() == agent.data


def test_a_job_goes_on_where_github_fails_and_the_archive_still_gets_it(
    job: Any, gh: FakeGitHub, host: GitHost
) -> None:
    runner = job("one", about_issue(1), name="issues")
    runner.write(an_agent(runner, "hello"))
    gh.permit(TOKEN, {"metadata": "read"})
    put = runner.use("restore")
    assert put.code == 0
    saved = runner.use("save", timeout="5")
    assert (saved.code, saved.outputs["saved"]) == (0, "false")
    assert saved.warnings
    assert "not all is saved" in saved.summary
    assert refs_of(host.folder / f"{REPO}.git")


def test_without_github_it_says_so_and_claims_no_absence(job: Any) -> None:
    runner = job("one", about_issue(1), name="issues", api_url="http://127.0.0.1:9")
    put = runner.use("restore")
    assert (put.code, put.outputs["resumed"]) == (0, "false")
    assert "is not known" in put.warnings[0]
    runner.write(an_agent(runner, "hello"))
    saved = runner.use("save", timeout="5")
    assert (saved.code, saved.outputs["saved"]) == (0, "false")
    assert saved.warnings


@pytest.mark.parametrize("inputs", [{"mode": "neither"}, {"mode": "restore", "python": "false"}])
def test_it_does_not_fail_the_job_where_it_cannot_run(job: Any, inputs: dict[str, str]) -> None:
    runner = job("one", about_issue(1), installs=True)
    ran = runner.use(**inputs)
    assert (ran.code, len(ran.warnings)) == (0, 1), ran.said


def test_it_installs_itself_with_hashes(job: Any, tmp_path: Path) -> None:
    runner = job("one", about_issue(1), installs=True)
    copy = tmp_path / "action"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "tests", "__pycache__"))
    runner.environ["GITHUB_ACTION_PATH"] = str(copy)
    ran = runner.use("restore")
    if "could not be installed" in ran.said:
        pytest.skip(f"the package index cannot be reached: {ran.said[-300:]}")
    assert (ran.code, ran.outputs["resumed"], ran.warnings) == (0, "false", [])


def test_the_issues_context_file_comes_along_but_the_transcript_is_resumed(job: Any) -> None:
    one = job("one", about_issue(1), name="issues")
    agent = an_agent(one, "hello")
    one.write(agent)
    notes = one.checkout / ".claude" / "sessions" / "1.md"
    notes.parent.mkdir(parents=True)
    notes.write_text("# Issue 1\n\n## Next\n- write it\n")
    assert one.use("save").outputs["saved"] == "true"
    notes.write_text("# Issue 1\n\n## Next\n- test it\n")  # the newest of the issue
    assert one.use("save").outputs["saved"] == "true"
    two = job("two", about_issue(1), name="issues")
    put = two.use("restore")
    assert put.outputs["session-id"] == agent.session, put.said
    assert "test it" in (two.checkout / ".claude" / "sessions" / "1.md").read_text()


def test_comments_in_another_repository_are_not_sent_to_an_issue_of_that_number(
    job: Any, gh: FakeGitHub
) -> None:
    gh.add_repo("o/sessions")
    gh.add_issue("o/sessions", "Has nothing to do with it")
    runner = job("one", about_issue(1), name="issues")
    runner.github["repository"] = "o/sessions"  # what the settings name; the job is another's
    runner.write(an_agent(runner, "hello"))
    assert runner.use("save", archive="").outputs["saved"] == "true"
    assert not gh.comments("o/sessions", 1)
    assert gh.comments("o/sessions", 2)
