"""GitHub's response objects, with every field its OpenAPI description requires."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from tests.fakes.world import ACTIONS_BOT, Account, Comment, Issue, Label, Repo, World

Json = dict[str, object]
WEB = "https://github.com"
NEWER = "2026-03-10"
"""The API version that drops `rate`, `issue.assignee` and `repo.has_downloads` (GitHub's OpenAPI)."""


def stamp(at: float) -> str:
    """A time as GitHub writes it: UTC, whole seconds."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def node_id(prefix: str, number: int) -> str:
    """An opaque global id."""
    return f"{prefix}_{base64.urlsafe_b64encode(f'kwDO{number}'.encode()).decode().rstrip('=')}"


def git_sha(kind: str, content: bytes) -> str:
    """The object id git would give."""
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


class Shapes:
    """Objects as seen at one base URL, in one API version."""

    def __init__(self, world: World, base: str, version: str) -> None:
        self.world = world
        self.base = base
        self.newer = version >= NEWER

    def user(self, login: str | None) -> Json | None:
        """A simple-user; null when the account is gone."""
        account = self.world.accounts.get(login or "")
        return None if account is None else self._account(account)

    def _account(self, account: Account) -> Json:
        name = account.login
        api = f"{self.base}/users/{name.replace('[', '%5B').replace(']', '%5D')}"
        return {
            "login": name,
            "id": account.id,
            "node_id": node_id("U", account.id),
            "avatar_url": f"https://avatars.githubusercontent.com/u/{account.id}?v=4",
            "gravatar_id": "",
            "url": api,
            "html_url": f"{WEB}/apps/{name[:-5]}" if name.endswith("[bot]") else f"{WEB}/{name}",
            "followers_url": f"{api}/followers",
            "following_url": f"{api}/following{{/other_user}}",
            "gists_url": f"{api}/gists{{/gist_id}}",
            "starred_url": f"{api}/starred{{/owner}}{{/repo}}",
            "subscriptions_url": f"{api}/subscriptions",
            "organizations_url": f"{api}/orgs",
            "repos_url": f"{api}/repos",
            "events_url": f"{api}/events{{/privacy}}",
            "received_events_url": f"{api}/received_events",
            "type": account.type,
            "user_view_type": "public",
            "site_admin": False,
        }

    def myself(self, login: str) -> Json:
        """The answer of GET /user."""
        return {
            **self._account(self.world.accounts[login]),
            "user_view_type": "private",
            "name": None,
            "company": None,
            "blog": "",
            "location": None,
            "email": None,
            "notification_email": None,
            "hireable": None,
            "bio": None,
            "twitter_username": None,
            "public_repos": 0,
            "public_gists": 0,
            "followers": 0,
            "following": 0,
            "created_at": "2011-01-25T18:44:36Z",
            "updated_at": "2026-01-22T11:30:41Z",
            "private_gists": 0,
            "total_private_repos": 1,
            "owned_private_repos": 1,
            "disk_usage": 0,
            "collaborators": 0,
            "two_factor_authentication": True,
            "plan": {"name": "free", "space": 976562499, "collaborators": 0, "private_repos": 10000},
        }

    def comment(self, comment: Comment) -> Json:
        """An issue-comment."""
        issue = self.world.issues[comment.issue_id]
        repo = self.world.repos[issue.repo_id]
        url = f"{self.base}/repos/{repo.full_name}/issues/comments/{comment.id}"
        return {
            "url": url,
            "html_url": f"{self._issue_page(repo, issue)}#issuecomment-{comment.id}",
            "issue_url": f"{self.base}/repos/{repo.full_name}/issues/{issue.number}",
            "id": comment.id,
            "node_id": node_id("IC", comment.id),
            "user": self.user(comment.login),
            "created_at": stamp(comment.created_at),
            "updated_at": stamp(comment.updated_at),
            "body": comment.body,
            "author_association": comment.association or self.association(repo, comment.login),
            "pin": None,
            "minimized": None,
            "reactions": self._reactions(url),
            "performed_via_github_app": self._app(comment.login),
        }

    def issue(self, issue: Issue) -> Json:
        """An issue, or a pull request as the issues API shows it."""
        repo = self.world.repos[issue.repo_id]
        url = f"{self.base}/repos/{repo.full_name}/issues/{issue.number}"
        shape: Json = {
            "url": url,
            "repository_url": f"{self.base}/repos/{repo.full_name}",
            "labels_url": f"{url}/labels{{/name}}",
            "comments_url": f"{url}/comments",
            "events_url": f"{url}/events",
            "html_url": self._issue_page(repo, issue),
            "id": issue.id,
            "node_id": node_id("I", issue.id),
            "number": issue.number,
            "title": issue.title,
            "user": self.user(issue.login),
            "labels": [self._label(repo, repo.labels[name.lower()]) for name in issue.labels],
            "state": issue.state,
            "locked": issue.locked,
            "assignee": None,
            "assignees": [],
            "milestone": None,
            "comments": len(self.world.comments_of(issue)),
            "created_at": stamp(issue.created_at),
            "updated_at": stamp(issue.updated_at),
            "closed_at": None if issue.closed_at is None else stamp(issue.closed_at),
            "author_association": issue.association or self.association(repo, issue.login),
            "active_lock_reason": None,
            "sub_issues_summary": {"total": 0, "completed": 0, "percent_completed": 0},
            "issue_dependencies_summary": {
                "blocked_by": 0,
                "total_blocked_by": 0,
                "blocking": 0,
                "total_blocking": 0,
            },
            "body": issue.body,
            "closed_by": None,
            "reactions": self._reactions(url),
            "timeline_url": f"{url}/timeline",
            "performed_via_github_app": self._app(issue.login),
            "state_reason": issue.state_reason,
            "pinned_comment": None,
        }
        if self.newer:
            del shape["assignee"]
        if issue.pull_request:
            page = f"{WEB}/{repo.full_name}/pull/{issue.number}"
            shape["draft"] = False
            shape["pull_request"] = {
                "url": f"{self.base}/repos/{repo.full_name}/pulls/{issue.number}",
                "html_url": page,
                "diff_url": f"{page}.diff",
                "patch_url": f"{page}.patch",
                "merged_at": None,
            }
        return shape

    def repo(self, repo: Repo, role: str | None) -> Json:
        """A full-repository, as seen by somebody with that role (None: nobody in particular)."""
        owner, name = repo.full_name.split("/")
        api, page = f"{self.base}/repos/{repo.full_name}", f"{WEB}/{repo.full_name}"
        open_issues = sum(
            issue.repo_id == repo.id
            and issue.state == "open"
            and not issue.deleted
            and issue.moved_to is None
            for issue in self.world.issues.values()
        )
        shape: Json = {
            "id": repo.id,
            "node_id": node_id("R", repo.id),
            "name": name,
            "full_name": repo.full_name,
            "private": repo.private,
            "owner": self.user(owner),
            "html_url": page,
            "description": None,
            "fork": False,
            "url": api,
            **{f"{key}_url": f"{api}/{tail}" for key, tail in _REPO_URLS.items()},
            "created_at": stamp(repo.created_at),
            "updated_at": stamp(repo.updated_at),
            "pushed_at": stamp(repo.pushed_at),
            "git_url": f"git://github.com/{repo.full_name}.git",
            "ssh_url": f"git@github.com:{repo.full_name}.git",
            "clone_url": repo.clone_url or f"{page}.git",
            "svn_url": page,
            "homepage": None,
            "size": 0 if repo.empty else 1 + sum(map(len, repo.files.values())) // 1024,
            "stargazers_count": 0,
            "watchers_count": 0,
            "language": None,
            "has_issues": repo.has_issues,
            "has_projects": True,
            "has_downloads": True,
            "has_wiki": not repo.private,
            "has_pages": False,
            "has_discussions": False,
            "forks_count": 0,
            "mirror_url": None,
            "archived": repo.archived,
            "disabled": False,
            "open_issues_count": open_issues,
            "license": None,
            "allow_forking": True,
            "is_template": False,
            "web_commit_signoff_required": False,
            "topics": [],
            "visibility": "private" if repo.private else "public",
            "forks": 0,
            "open_issues": open_issues,
            "watchers": 0,
            "default_branch": "main",
            "network_count": 0,
            "subscribers_count": 1,
        }
        if self.newer:
            del shape["has_downloads"]
        if role is not None:
            shape["permissions"] = {
                "admin": role == "admin",
                "maintain": role == "admin",
                "push": role != "read",
                "triage": role != "read",
                "pull": True,
            }
            shape["temp_clone_token"] = ""
        return shape

    def file_commit(self, repo: Repo, path: str, content: bytes, message: str, login: str) -> Json:
        """The answer of PUT contents."""
        api, page = f"{self.base}/repos/{repo.full_name}", f"{WEB}/{repo.full_name}"
        blob = git_sha("blob", content)
        commit = git_sha("commit", f"{blob} {path} {message} {self.world.now()}".encode())
        tree = git_sha("tree", f"{path}{blob}".encode())
        who = {
            "name": login,
            "email": f"{login}@users.noreply.github.com",
            "date": stamp(self.world.now()),
        }
        here = f"{api}/contents/{path}?ref=main"
        return {
            "content": {
                "name": path.rsplit("/", 1)[-1],
                "path": path,
                "sha": blob,
                "size": len(content),
                "url": here,
                "html_url": f"{page}/blob/main/{path}",
                "git_url": f"{api}/git/blobs/{blob}",
                "download_url": f"https://raw.githubusercontent.com/{repo.full_name}/main/{path}",
                "type": "file",
                "_links": {
                    "self": here,
                    "git": f"{api}/git/blobs/{blob}",
                    "html": f"{page}/blob/main/{path}",
                },
            },
            "commit": {
                "sha": commit,
                "node_id": node_id("C", repo.id),
                "url": f"{api}/git/commits/{commit}",
                "html_url": f"{page}/commit/{commit}",
                "author": who,
                "committer": who,
                "tree": {"sha": tree, "url": f"{api}/git/trees/{tree}"},
                "message": message,
                "parents": [],
                "verification": {
                    "verified": False,
                    "reason": "unsigned",
                    "signature": None,
                    "payload": None,
                    "verified_at": None,
                },
            },
        }

    def association(self, repo: Repo, login: str | None) -> str:
        """What author_association says of somebody who has not been given another one."""
        if login is None:
            return "NONE"
        if login in repo.associations:
            return repo.associations[login]
        if login == repo.full_name.split("/")[0]:
            return "OWNER"
        holders = {token.login for token in self.world.tokens.values()} - {ACTIONS_BOT}
        if repo.roles is None and login in holders:
            return "COLLABORATOR"
        return "COLLABORATOR" if (repo.roles or {}).get(login) in {"write", "admin"} else "NONE"

    def _issue_page(self, repo: Repo, issue: Issue) -> str:
        return f"{WEB}/{repo.full_name}/{'pull' if issue.pull_request else 'issues'}/{issue.number}"

    def _label(self, repo: Repo, label: Label) -> Json:
        shape: Json = msgspec.to_builtins(label)
        return {
            **shape,
            "node_id": node_id("LA", label.id),
            "url": f"{self.base}/repos/{repo.full_name}/labels/{quote(label.name)}",
            "default": False,
        }

    def _reactions(self, url: str) -> Json:
        kinds = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
        return {"url": f"{url}/reactions", "total_count": 0, **dict.fromkeys(kinds, 0)}

    def _app(self, login: str | None) -> Json | None:
        if login != ACTIONS_BOT:
            return None
        return {
            "id": 15368,
            "client_id": "Iv1.05c79e9ad1f6bdfa",
            "slug": "github-actions",
            "node_id": "MDM6QXBwMTUzNjg=",
            "owner": self._account(Account(id=9919, login="github", type="Organization")),
            "name": "GitHub Actions",
            "description": "Automate your workflow from idea to production",
            "external_url": "https://help.github.com/en/actions",
            "html_url": f"{WEB}/apps/github-actions",
            "created_at": "2018-07-30T09:30:17Z",
            "updated_at": "2025-03-07T16:35:00Z",
            "permissions": {"issues": "write", "metadata": "read", "contents": "write"},
            "events": ["issues", "issue_comment"],
        }


_REPO_URLS = {
    "forks": "forks",
    "keys": "keys{/key_id}",
    "collaborators": "collaborators{/collaborator}",
    "teams": "teams",
    "hooks": "hooks",
    "issue_events": "issues/events{/number}",
    "events": "events",
    "assignees": "assignees{/user}",
    "branches": "branches{/branch}",
    "tags": "tags",
    "blobs": "git/blobs{/sha}",
    "git_tags": "git/tags{/sha}",
    "git_refs": "git/refs{/sha}",
    "trees": "git/trees{/sha}",
    "statuses": "statuses/{sha}",
    "languages": "languages",
    "stargazers": "stargazers",
    "contributors": "contributors",
    "subscribers": "subscribers",
    "subscription": "subscription",
    "commits": "commits{/sha}",
    "git_commits": "git/commits{/sha}",
    "comments": "comments{/number}",
    "issue_comment": "issues/comments{/number}",
    "contents": "contents/{+path}",
    "compare": "compare/{base}...{head}",
    "merges": "merges",
    "archive": "{archive_format}{/ref}",
    "downloads": "downloads",
    "issues": "issues{/number}",
    "pulls": "pulls{/number}",
    "milestones": "milestones{/number}",
    "notifications": "notifications{?since,all,participating}",
    "labels": "labels{/name}",
    "releases": "releases{/id}",
    "deployments": "deployments",
}
