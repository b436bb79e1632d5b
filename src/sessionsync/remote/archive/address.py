"""Where the archive lies: what `archive.url` means to git."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from sessionsync.config import Config

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Address(NamedTuple):
    """A repository.  `url` is what git is given.

    `folder` is set where it lies on this machine.  `repo` is `owner/name` where it is on the GitHub whose
    API and token the settings name.
    """

    url: str
    folder: Path | None = None
    repo: str = ""

    @property
    def id(self) -> str:
        """What the state keeps its knowledge of this archive under."""
        return hashlib.sha256(self.url.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def origin(self) -> str:
        """Scheme, host and port, as git asks for a login to them; '' where there is none to be given."""
        parts = urlsplit(self.url) if re.match(r"https?://", self.url) else None
        return f"{parts.scheme}://{parts.netloc}" if parts is not None else ""

    @property
    def is_loopback(self) -> bool:
        """Whether it is served by this machine."""
        return bool(self.origin) and (urlsplit(self.url).hostname or "") in LOOPBACK


def address_of(config: Config) -> Address | None:
    """The archive that the settings name; None where they name none, or GitHub without a repository."""
    url, repo = config.archive.url, config.github.repo
    if not url:
        return None
    web = web_of(config.github.api_url)
    if url == "github":
        return Address(f"{web}/{repo}.git", repo=repo) if repo else None
    if url.startswith("/"):
        return Address(url, Path(url))
    if url.startswith("file://"):
        path = unquote(urlsplit(url).path, errors="surrogateescape")
        return Address(path, Path(path))
    inside = re.fullmatch(re.escape(web) + r"/([^/]+/[^/]+?)(?:\.git)?/?", url)
    return Address(url, repo=inside[1] if inside else "")


def web_of(api_url: str) -> str:
    """Where the GitHub with this API serves git.

    >>> web_of("https://api.github.com")
    'https://github.com'
    >>> web_of("https://git.example/api/v3")
    'https://git.example'
    >>> web_of("http://127.0.0.1:8080")
    'http://127.0.0.1:8080/git'
    """
    parts = urlsplit(api_url)
    host = parts.netloc
    if (parts.hostname or "") in LOOPBACK:
        return f"{api_url}/git"
    if host == "api.github.com" or (host.startswith("api.") and host.endswith(".ghe.com")):
        host = host.removeprefix("api.")
    return f"{parts.scheme}://{host}"


def public_face(address: Address) -> str:
    """The address at which everyone could read it, if it is public; '' where nobody else can reach it."""
    if address.folder is not None or address.is_loopback:
        return ""
    if address.origin:
        return address.url if address.url.startswith("https://") else ""
    if ssh := re.fullmatch(r"ssh://(?:[^@/]+@)?(?P<host>[^/:]+)(?::\d+)?/(?P<path>.+)", address.url):
        return f"https://{ssh['host']}/{ssh['path']}"
    scp = re.fullmatch(r"(?:[^@/]+@)?(?P<host>[^/:]+):(?P<path>[^/].*)", address.url)
    return f"https://{scp['host']}/{scp['path']}" if scp else ""
