"""Groups of commands that know what a mistyped one may have been meant for."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

import click

from sessionsync.errors import UsageError


class Verbs(click.Group):
    """A group whose complaint of an unknown command names the nearest, in whichever group that is."""

    group_class = type  # those below are such groups as well

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
            root = ctx.find_root()
            assert isinstance(root.command, click.Group)  # noqa: S101 - this one, or one above it
            near = nearest(root.command, args[0], ctx.command_path.split()[1:])
            hint = " or ".join(f"{root.command_path} {each}" for each in near)
            raise UsageError(
                f"There is no command {ctx.command_path} {args[0]}.",
                hint=f"Perhaps {hint}?" if near else f"How it is used: {ctx.command_path} --help",
            ) from error


def nearest(root: click.Group, word: str, group: list[str]) -> list[str]:
    """What `word`, typed in `group`, may have been meant for: commands as they are typed, the nearest first.

    Of two with one name that of the group counts, then that of `ctl`.
    """
    known: dict[str, list[str]] = {}
    for path in sorted(_all(root, []), key=lambda path: (path[:-1] != group, path[0] != "ctl")):
        known.setdefault(path[-1], path)
    names = [word] if word in known else get_close_matches(word, known, n=2)
    return [" ".join(known[name]) for name in names]


def _all(group: click.Group, above: list[str]) -> Iterator[list[str]]:
    """Every command below a group, as the words that lead to it."""
    for name, command in group.commands.items():
        yield [*above, name]
        if isinstance(command, click.Group):
            yield from _all(command, [*above, name])
