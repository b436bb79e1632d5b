"""`sessiond doctor`: every precondition and every promise, looked at from outside.

    checks ──▶ programs, files, agent, github, archive, daemon      a function a check
                   └──▶ here                                        what they look at, looked up once

A check changes nothing, needs no running daemon, and waits for nobody without a bound.
"""

from sessiond.doctor.checks import CHECKS, examine
from sessiond.doctor.here import FAILED, OK, WARNING, Check, Here

__all__ = ["CHECKS", "FAILED", "OK", "WARNING", "Check", "Here", "examine"]
