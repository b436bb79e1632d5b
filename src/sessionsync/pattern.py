"""Regular expressions that are compiled when they are first tried.

To compile all that the program has takes a tenth of a command's start, and most commands try few of them.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import AnyStr, Generic


class Pattern(Generic[AnyStr]):
    """A regular expression: its text and flags, as `re.compile` takes them."""

    def __init__(self, text: AnyStr, flags: int = 0) -> None:
        self.text: AnyStr = text
        self._flags = flags

    @cached_property
    def compiled(self) -> re.Pattern[AnyStr]:
        """The expression, to be tried."""
        return re.compile(self.text, self._flags)
