"""`make dist`: what was built is installed into an empty environment and tried there, in a throw-away home."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHIPPED = (
    "sessiond/commit",
    "sessiond/share/systemd/sessiond.service",
    "sessiond/share/systemd/sessiond.service.d/hardening.conf",
    "sessiond/share/systemd/sessiond.service.d/credential.conf",
    "sessiond/share/launchd/io.sessiond.daemon.plist",
    "sessiond/share/sessiond.rules.yml",
    "sessiond/share/sessiond.dashboard.json",
    "sessionsync/vault/dictionary.zst-dict",
)


def main(folder: Path) -> int:
    """Try the newest wheel and the newest source archive in `folder`; 0 when both work."""
    for pattern in ("*.whl", "*.tar.gz"):
        built = max(folder.glob(f"sessiond-{pattern}"), key=lambda file: file.stat().st_mtime)
        with tempfile.TemporaryDirectory(prefix="sessiond-dist-") as scratch:
            print(f"{built.name}: {tried(built, Path(scratch))}")
    return 0


def tried(built: Path, scratch: Path) -> str:
    """Install one, with the locked libraries, and run it; what it says of itself."""
    environment = scratch / "env"
    _run([sys.executable, "-m", "venv", str(environment)])
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    _run([*pip, "--require-hashes", "--requirement", str(ROOT / "requirements.lock")])
    _run([*pip, "--no-deps", "--no-build-isolation", str(built)])
    (packages,) = environment.glob("lib/python*/site-packages")
    missing = [name for name in SHIPPED if not (packages / name).is_file()]
    if missing:
        raise SystemExit(f"{built.name} lacks {', '.join(missing)}")
    home = {
        "HOME": str(scratch),
        "SESSIOND_HOME": str(scratch / "s"),
        "CLAUDE_CONFIG_DIR": str(scratch / "c"),
    }
    sessiond = str(environment / "bin" / "sessiond")
    said = _run([sessiond, "--version"], home)
    if "(commit " not in said:
        raise SystemExit(f"{built.name} does not know its commit: {said}")
    _run([sessiond, "--help"], home)
    for shell in ("bash", "zsh", "fish"):
        if "sessiond" not in _run([sessiond, "completion", shell], home):
            raise SystemExit(f"{built.name} completes nothing in {shell}")
    _run([sessiond, "run", "--check"], home)
    _run([sessiond, "sync", "--once", "--timeout", "10"], home)
    return said.splitlines()[0]


def _run(command: list[str], environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        env=None if environ is None else {"PATH": "/usr/local/bin:/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
