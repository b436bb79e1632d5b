"""Groups that import a command when it is called, and know what a mistyped one may have been meant for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from sessiond.cli.overview import COMMANDS
from sessionsync.errors import UsageError


class Verbs(click.Group):
    """The commands that `COMMANDS` has for `word`, the group's own, '' for what is in none.

    Its complaint of an unknown one names the nearest, in whichever group that is.
    """

    def __init__(self, *arguments: Any, word: str = "", **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.word = word

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The words that may follow."""
        del ctx
        return sorted(COMMANDS[self.word])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None where there is none."""
        del ctx
        if (line := COMMANDS[self.word].get(cmd_name)) is None:
            return None
        place = ".".join(filter(None, ["sessiond.cli.commands", self.word, cmd_name]))
        command: click.Command = import_module(place.replace("-", "_")).command
        command.name, command.short_help = cmd_name, line
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, of which none is imported for that."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS[self.word].items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names.

        Raises:
            UsageError: there is none.
        """
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if args[0].startswith("-"):  # an option, which click knows better
                raise
            program = ctx.find_root().command_path
            hint = " or ".join(f"{program} {each}" for each in nearest(args[0], self.word))
            raise UsageError(
                f"There is no command {ctx.command_path} {args[0]}.",
                hint=f"Perhaps {hint}?" if hint else f"How it is used: {ctx.command_path} --help",
            ) from error


def nearest(word: str, group: str) -> list[str]:
    """What `word`, typed in `group`, may have been meant for: commands as they are typed, the nearest first.

    Of two with one name that of the group counts, then that of `ctl`.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only for errors

    known: dict[str, str] = {}
    for each in sorted(COMMANDS, key=lambda each: (each != group, each != "ctl")):
        for name in COMMANDS[each]:
            known.setdefault(name, f"{each} {name}".lstrip())
    names = [word] if word in known else get_close_matches(word, known, n=2)
    return [known[name] for name in names]
