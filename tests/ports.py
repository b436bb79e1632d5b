"""Ports for programs that must be told one."""

import socket
from contextlib import suppress
from random import SystemRandom  # a seed would give every worker the same ones

# Below those that a system gives whoever asks for any, as every other test does meanwhile
OURS = range(20_000, 32_000)


def free_port() -> int:
    """A port of loopback that was free just now, and is given to nobody who asks for any."""
    chance = SystemRandom()
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port := chance.choice(OURS)))
            return port
