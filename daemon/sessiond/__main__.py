"""The command line: `sessiond`, or `python -m sessiond`.

What is typed often is answered with the standard library alone; click, which costs more than the
answer, is imported for everything else.  A hook is not even stopped by a broken installation.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from click import ClickException

    from sessionsync.errors import OutputFailed, SessiondError, UsageError

INTERRUPTED = 130
INTERNAL = 70


def program() -> NoReturn:
    """Run the command line, and end.

    But for the daemon, whose threads end by themselves, that is at once: to take apart what was imported is
    up to a seventh of what a short command takes.
    """
    code = main()
    if _debug(sys.argv[1:])[0] == ["run"]:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # there is none, or nobody reads: that was dealt with
            continue
    os._exit(code)


def main() -> int:
    """Run the command line of this process; the exit code (spec: 0 done, 2 usage, 3 not running …)."""
    arguments, _ = _debug(sys.argv[1:])
    if arguments[:1] != ["hook"]:
        return _command()
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if not {"-h", "--help"} & {*words}:
        _hook(arguments[1:])
    try:
        _command()
    except BaseException as problem:  # noqa: BLE001 - an agent that was told to ask for help goes on as well
        sys.stderr.write(f"sessiond: {problem!r}\n")
    return 0


def _hook(arguments: list[str]) -> NoReturn:
    """Do what a hook does.  It ends with 0 whatever happens: 2 would block the agent."""
    try:
        from sessiond import hook  # noqa: PLC0415 - a broken installation must not be noticed

        hook.run(arguments)
    except BaseException:  # noqa: BLE001 - as above
        if "--passthrough" in arguments:
            _relay()
    finally:
        os._exit(0)


def _relay() -> None:
    """Pass stdin on to the next in the chain, where the hook itself cannot."""
    try:
        while block := os.read(0, 65536):
            while block:
                block = block[os.write(1, block) :]
    except OSError:
        return


def _command() -> int:
    from sessionsync.errors import SessiondError  # noqa: PLC0415 - a hook runs without

    _open_what_is_closed()
    arguments, debug = _debug(sys.argv[1:])
    try:
        code = _daemon(debug=debug) if arguments == ["run"] else _plain(arguments, debug=debug)
        code = _any(arguments, debug=debug) if code is None else code
        sys.stdout.flush()
    except SessiondError as error:
        return _complain(error, debug=debug)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `sessiond list | head` has seen enough
        sys.stdout = None
        return 0
    except Exception as error:  # noqa: BLE001 - the last boundary: no traceback for a user
        failure: SessiondError | None = _unwritten(error)
        if failure is None:
            failure = SessiondError(
                f"sessiond failed: {type(error).__name__}: {error}",
                hint="Run it again with --debug, and report what it prints.",
            )
            failure.exit_code = INTERNAL
        failure.__cause__ = error
        return _complain(failure, debug=debug)
    return code


def _open_what_is_closed() -> None:
    """Whoever has closed a standard stream wants nothing of it but what the command does, and its exit code.

    Its number is taken as well, lest the next file that is opened gets it, and what is meant for the stream.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - as they are


def _unwritten(error: Exception) -> OutputFailed | None:
    """The error for a stdout that took nothing, where that is what went wrong."""
    from sessionsync.errors import OutputFailed  # noqa: PLC0415 - only where something is wrong

    if not isinstance(error, OSError) or error.filename is not None:
        return None
    try:
        sys.stdout.write("\n")  # unbuffered, it holds nothing that could fail once more
        sys.stdout.flush()
    except OSError as problem:
        sys.stdout = None  # else it fails again at the end
        return OutputFailed(
            f"The answer cannot be written: {problem.strerror}.", hint="See where stdout goes to."
        )
    return None


def _debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without --debug, which may stand anywhere before a `--`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return kept + arguments[end:], len(kept) < end


class _Staying:
    """What is imported stays: looking through it again and again costs a twentieth of it, and more later."""

    def __enter__(self) -> None:
        import gc  # noqa: PLC0415 - not for what imports little

        gc.disable()

    def __exit__(self, *_: object) -> None:
        import gc  # noqa: PLC0415 - as above

        gc.freeze()
        gc.enable()


def _daemon(*, debug: bool) -> int:
    """Run the daemon, which has no use for click."""
    from sessiond import memory  # noqa: PLC0415 - only for the daemon

    memory.share_one_heap()
    with _Staying():
        from sessiond import app  # noqa: PLC0415 - heavy, and only for the daemon
    return app.run(os.environ, debug=debug)


def _plain(arguments: list[str], *, debug: bool) -> int | None:
    """Answer what needs no click: words, and behind them at most --json; None where it is something else."""
    as_json = arguments[-1:] == ["--json"]
    words = arguments[:-1] if as_json else arguments
    if words == ["sync", "--once"]:
        with _Staying():
            from sessiond import once  # noqa: PLC0415 - each only where it is asked for
        return once.sync_once(os.environ, as_json=as_json, debug=debug)
    if any(word.startswith("-") for word in words):
        return None
    match words:
        case ["ctl", verb]:
            from sessiond.cli.look import PLAIN, plain  # noqa: PLC0415 - as above

            return plain(verb, as_json=as_json) if verb in PLAIN else None
        case ["list"]:
            from sessiond.cli import listing  # noqa: PLC0415

            listing.show(None, as_json=as_json)
        case ["search", *query] if query:
            from sessiond.cli import finding  # noqa: PLC0415

            finding.show(" ".join(query), as_json=as_json)
        case _:
            return None
    return 0


def _any(arguments: list[str], *, debug: bool) -> int:
    with _Staying():
        import click  # noqa: PLC0415 - costs 30 ms

        from sessiond.cli import commands  # noqa: PLC0415 - imports click
    try:
        return commands.parse(arguments, debug=debug)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.Abort as error:
        raise KeyboardInterrupt from error
    except click.ClickException as error:
        raise _usage(error) from error


def _usage(error: ClickException) -> UsageError:
    from sessionsync.errors import UsageError  # noqa: PLC0415 - a hook runs without

    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "sessiond"
    return UsageError(error.format_message(), hint=f"How it is used: {command} --help")


def _complain(error: SessiondError, *, debug: bool) -> int:
    """One line with the code, one with what to do next."""
    from sessiond.cli.terminal import clean, terminal  # noqa: PLC0415 - only where something is wrong

    out = terminal(sys.stderr)
    lines = [f"{out.paint(f'sessiond: {error.code}:', 'red')} {clean(error)}"]
    if error.hint:
        lines.append(clean(error.hint))
    if debug:
        import traceback  # noqa: PLC0415 - only where it is asked for

        lines[:0] = "".join(traceback.format_exception(error)).splitlines()
    try:
        sys.stderr.write("\n".join(lines).encode("utf-8", "replace").decode() + "\n")
    except OSError:
        sys.stderr = None  # else it fails again at the end, with a code of its own
    return error.exit_code


if __name__ == "__main__":
    program()
