"""The daemon's ears alone, as a process to be frozen, starved and measured: watcher, socket, loopback port.

`python -m tests.process.idling ROOT SOCKET` prints a JSON line when it is ready and one for each hint,
and waits for hints without a timeout.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sessiond import process
from sessiond.control import Control, Verb
from sessiond.faces import Faces, open_faces
from sessiond.metrics import Metrics, catalogue
from sessiond.server import Server
from sessiond.watcher import Watcher


def say(**fields: Any) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")  # in one piece: several threads say something
    sys.stdout.flush()


def emit(event: str, **fields: Any) -> None:
    say(event=event, **fields)


def main(root: Path, socket: Path) -> None:
    news = threading.Event()
    watcher = Watcher(lambda: [root], emit, news.set)
    watcher.start()
    with process.bound(socket) as listener:
        control = Control({"ping": Verb("ping", lambda params: {"pong": True})}, emit)
        Server(control, listener, threads=8, name="control").start()
        metrics = Metrics(catalogue(), time.time)
        app = Faces(metrics.application(), healthy=dict, ready=dict)
        opened = open_faces(app, ("127.0.0.1", 0), emit)
        assert opened is not None
        say(ready=True, port=opened[1], watches=watcher.watches)
        wait_s: float | None = None
        while True:
            news.wait(wait_s)
            news.clear()
            hints = watcher.take(time.monotonic())
            wait_s = None if hints.next_at is None else max(0.001, hints.next_at - time.monotonic())
            if hints.rescan:
                watcher.refresh()
            if hints.rescan or hints.paths:
                names = sorted(path.name for path in hints.paths)[:5]
                say(rescan=hints.rescan, names=names, watches=watcher.watches, alive=watcher.alive())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
