"""Every setting: the sections below are their names, types and defaults.

`load` reads `config.toml` and the `SESSIOND_<SECTION>_<KEY>` variables over it; whatever is wrong with either
is a `ConfigError` that names the place, the setting, the value and what is allowed. What a setting takes is
in `values`, where the files lie in `paths`. Settings are written `section.key` in every message.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sessionsync.errors import ConfigError
from sessionsync.paths import Paths, claude_root, home, paths
from sessionsync.places import MIRROR_DIR
from sessionsync.values import KB, RULES, TOKEN, address, plain, shown

__all__ = ["Config", "Paths", "differences", "load", "needs_restart", "paths"]


class Sources(NamedTuple):
    """Which folders are watched, and after how many quiet seconds a change is a checkpoint."""

    claude: tuple[Path, ...] = ()
    projects: tuple[str, ...] = ()
    quiet_seconds: int = 120


class Github(NamedTuple):
    """The repository the sessions are shown in. Without `repo` nothing leaves the machine."""

    repo: str = ""
    api_url: str = "https://api.github.com"
    issue: int = 0
    authors: tuple[str, ...] = ()
    allow_public: bool = False
    creations_per_hour: int = 250


class Tiers(NamedTuple):
    """How much of a session goes into its comment, by the size of the session in bytes."""

    github_only_bytes: int = 45 * KB
    hybrid_bytes: int = 200 * KB
    comment_bytes: int = 45 * KB


class Backup(NamedTuple):
    """Where the local copies lie, and how many checkpoints are kept. `load` expands the `~`."""

    mirror_dir: Path = Path(MIRROR_DIR)
    vault_dir: Path = Path("~/.claude-backup")
    keep_checkpoints: int = 50


class Archive(NamedTuple):
    """The git repository with every checkpoint: `github`, a git URL, a folder, or none."""

    url: str = ""
    encrypt_to: tuple[str, ...] = ()
    identity_file: Path | None = None
    file_history: bool = False


class Privacy(NamedTuple):
    """What is redacted before it leaves the machine, and what never is."""

    redact: bool = True
    patterns: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


class Health(NamedTuple):
    """How often the program looks at itself, and what it runs on a critical finding."""

    interval_seconds: int = 300
    on_critical: str = ""


class Http(NamedTuple):
    """Where metrics are served."""

    listen: str = "127.0.0.1:17865"

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of `listen`, None where it is off. Port 0 is any free one."""
        return address(self.listen) if self.listen else None


class Log(NamedTuple):
    """How much is logged, and in which shape."""

    level: str = "info"
    format: str = "auto"


class Config(NamedTuple):
    """All settings, immutable; `load` makes one, `_replace` another."""

    sources: Sources = Sources()
    github: Github = Github()
    tiers: Tiers = Tiers()
    backup: Backup = Backup()
    archive: Archive = Archive()
    privacy: Privacy = Privacy()
    health: Health = Health()
    http: Http = Http()
    log: Log = Log()

    def claude_roots(self, environ: Mapping[str, str]) -> tuple[Path, ...]:
        """Return the agent's folders to watch: those set, else the one Claude Code itself uses."""
        return self.sources.claude or (claude_root(environ),)

    @property
    def has_archive(self) -> bool:
        """Whether checkpoints go into an archive: `github` names one only together with a repository."""
        return bool(self.archive.url) and (self.archive.url != "github" or bool(self.github.repo))


# What was said, by setting: the file or variable that says it, and the TOML value.
Given = dict[str, tuple[str, object]]

RESTART = ("backup.", "http.listen")  # what `reload` does not apply


def load(environ: Mapping[str, str], file: Path | None = None) -> Config:
    """Given the environment, return the settings of `file` with the variables over them.

    `file` is `config.toml` in the config folder unless given; where it is missing, the defaults hold.
    Raises `ConfigError`.
    """
    said = _from_file(file or paths(environ).config_file) | _from_variables(environ)
    given = _from_actions(environ) | said
    base = home(environ)
    config = Config()
    for section in Config._fields:
        defaults = getattr(config, section)
        read = {key: _value(f"{section}.{key}", given, base) for key in defaults._fields}
        config = config._replace(**{section: defaults._replace(**read)})
    _check_together(config, given, config.claude_roots(environ))
    return config


def differences(old: Config, new: Config) -> tuple[str, ...]:
    """Return the settings that differ, in the order of the sections."""
    return tuple(setting for setting in RULES if _get(old, setting) != _get(new, setting))


def needs_restart(setting: str) -> bool:
    """Tell whether a change of this setting waits for the next start."""
    return setting.startswith(RESTART)


def _get(config: Config, setting: str) -> object:
    section, key = setting.split(".")
    return getattr(getattr(config, section), key)


def _value(setting: str, given: Given, base: Path) -> object:
    default = _get(Config(), setting)
    where, value = given.get(setting, ("the default", default))
    try:
        return RULES[setting].read(value, base)
    except ValueError as problem:
        reason = f" ({plain(problem)})" if str(problem) else ""
        raise ConfigError(
            f"{where}: {setting} = {shown(value)} is not allowed{reason}: it takes {RULES[setting].allowed}",
            hint=f"Change it, or leave it out for the default, {shown(default)}",
        ) from problem


def _check_together(config: Config, given: Given, roots: tuple[Path, ...]) -> None:
    """Raise `ConfigError` for settings that are each allowed, but not with one another."""
    small, large = "tiers.github_only_bytes", "tiers.hybrid_bytes"
    if config.tiers.github_only_bytes > config.tiers.hybrid_bytes:
        hint = f"Swap them or change one: {small} is the smaller of the two"
        raise ConfigError(_said(config, given, small, large) + ": the first is larger", hint=hint)
    mirror, vault = "backup.mirror_dir", "backup.vault_dir"
    if _overlap(config.backup.mirror_dir, config.backup.vault_dir):
        hint = "Two copies in one folder are one copy: give each a folder of its own"
        raise ConfigError(_said(config, given, mirror, vault) + ": one lies in the other", hint=hint)
    for setting, folder in ((mirror, config.backup.mirror_dir), (vault, config.backup.vault_dir)):
        for root in roots:
            if _overlap(folder, root):
                what = f"{_said(config, given, setting)} and the watched folder {shown(root)}"
                hint = "A backup inside what it backs up grows without end: put it elsewhere"
                raise ConfigError(f"{what}: one lies in the other", hint=hint)


def _said(config: Config, given: Given, *settings: str) -> str:
    places = dict.fromkeys(given[setting][0] for setting in settings if setting in given)
    values = " and ".join(f"{setting} = {shown(_get(config, setting))}" for setting in settings)
    return f"{', '.join(places) or 'the environment'}: {values}"


def _overlap(one: Path, other: Path) -> bool:
    one, other = Path(os.path.realpath(one)), Path(os.path.realpath(other))  # a link is no second place
    return one.is_relative_to(other) or other.is_relative_to(one)


def _from_file(file: Path) -> Given:
    where = plain(file)
    try:
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as problem:
        hint = "Make it a file that this user may read, or remove it for the defaults"
        raise ConfigError(f"{where} cannot be read: {problem.strerror}", hint=hint) from problem
    import tomllib  # noqa: PLC0415 - the hook's fast way may have no file

    try:
        sections = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as problem:  # not TOML, not UTF-8, a number or a nesting without end
        raise ConfigError(f"{where} is not TOML: {plain(problem)}", hint="Mend that place") from problem
    given: Given = {}
    for section, table in sections.items():
        if not isinstance(table, dict):
            raise _unknown(where, section, table)
        if not table and section not in Config._fields:
            raise _unknown(where, section, table)
        for key, value in table.items():
            given[f"{section}.{key}"] = _known(where, f"{section}.{key}", value)
    return given


def _from_actions(environ: Mapping[str, str]) -> Given:
    """Where GitHub is, as a runner of its Actions says; which repository takes sessions a person says."""
    url = environ.get("GITHUB_API_URL", "") if environ.get("GITHUB_ACTIONS") == "true" else ""
    return {"github.api_url": ("GITHUB_API_URL", url)} if url else {}


def _from_variables(environ: Mapping[str, str]) -> Given:
    given: Given = {}
    for name, text in sorted(environ.items()):
        section, _, key = name.removeprefix("SESSIOND_").lower().partition("_")
        if text and name.startswith("SESSIOND_") and section in Config._fields:
            setting = f"{section}.{key}"
            _known(name, setting, text)
            given[setting] = name, _toml(name, setting, text.strip())
    return given


def _toml(name: str, setting: str, text: str) -> object:
    """Given a variable's text, return the TOML value in it; a bare word will do where a string is wanted."""
    import tomllib  # noqa: PLC0415 - most environments have no such variable

    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        table = {}
    if RULES[setting].is_text and not isinstance(table.get("value"), str) and text[:1] not in ("'", '"'):
        return text
    if list(table) != ["value"]:  # nothing, or a second line behind the value
        raise ConfigError(
            f"{name} = {shown(text)} is not a TOML value: it takes {RULES[setting].allowed}",
            hint=f"Write it as in config.toml, where the default is {shown(_get(Config(), setting))}",
        )
    return table["value"]


def _known(where: str, setting: str, value: object) -> tuple[str, object]:
    """Return place and value of a setting that exists and holds no token. `[privacy]` may speak of tokens."""
    if setting not in RULES:
        raise _unknown(where, setting, value)
    if TOKEN.search(str(value)) and not setting.startswith("privacy."):
        hint = NO_IDENTITIES if setting.startswith("archive.") and "AGE-" in str(value) else NO_TOKENS
        raise ConfigError(f"{where}: {setting} holds a token or a secret key", hint=hint)
    return where, value


NO_TOKENS = (
    "A token comes from GH_TOKEN, GITHUB_TOKEN, `gh auth login` or the service credential github_token"
)

NO_IDENTITIES = (
    "An identity stays in a file of its own, which archive.identity_file names; archive.encrypt_to takes its "
    "recipient, age1…"
)


def _unknown(where: str, setting: str, value: object) -> ConfigError:
    from difflib import get_close_matches  # noqa: PLC0415 - only for errors

    if any(word in setting.lower() for word in ("token", "secret", "password", "credential")):
        return ConfigError(f"{where}: there is no setting {plain(setting)}", hint=NO_TOKENS)
    section, _, key = setting.lower().partition(".")
    elsewhere = [name for name in RULES if name.endswith(f".{key or section}")]
    near = elsewhere or get_close_matches(setting.lower(), RULES, n=1)
    if section in Config._fields:
        takes = f"[{section}] takes " + ", ".join(getattr(Config(), section)._fields)
    else:
        takes = "The sections are " + ", ".join(Config._fields)
    guess = f"Did you mean {near[0]}? " if near else ""
    return ConfigError(
        f"{where}: there is no setting {plain(setting)} (value {shown(value)})", hint=guess + takes
    )
