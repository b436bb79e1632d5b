"""One request and one answer of the stand-in, and GitHub's words for a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from tests.fakes.world import Token

DOCS = "https://docs.github.com/rest"


@dataclass
class Call:
    """A request as it came in: header names in lower case, `target` the path with its query."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    token: Token | None = None
    account: str = "anonymous"
    version: str = "2022-11-28"
    request_id: str = ""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def write(self) -> bool:
        return self.method not in {"GET", "HEAD"}


@dataclass
class Answer:
    """Status, JSON body (None: none; bytes: as they are) and headers. `effect` says what was changed."""

    status: int
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    effect: str = ""


class Refused(Exception):
    """The request ends here with this answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def problem(status: int, message: str, docs: str = DOCS, **headers: str) -> Refused:
    """A refusal in GitHub's form: message, documentation_url and (since 2024) status as a string."""
    body = {"message": message, "documentation_url": docs, "status": str(status)}
    return Refused(Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()}))


def invalid(docs: str, *errors: dict[str, str]) -> Refused:
    """A 422 with a list of errors."""
    body = {
        "message": "Validation Failed",
        "errors": list(errors),
        "documentation_url": docs,
        "status": "422",
    }
    return Refused(Answer(422, body))
