"""Soak: a daemon under traffic and faults for long, and what it then holds that it did not hold before."""
