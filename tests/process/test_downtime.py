"""What a real daemon says of the time in which it was not there, beside a watch that others hold."""

from __future__ import annotations

import time
from pathlib import Path

from tests.daemon import Daemon


def test_a_kill_is_downtime_from_the_kill_to_the_start_and_a_stop_is_none(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        daemon.start()
        began = time.monotonic()
        daemon.ctl("health")
        daemon.kill()
        killed = time.monotonic()
        time.sleep(1.5)
        daemon.start()
        down = time.monotonic() - killed
        found = daemon.ctl("health")["reliability"]["1h"]
        assert 1.5 < found["state_seconds"]["down"] < down + (killed - began)
        daemon.stop()
        daemon.start()
        again = daemon.ctl("health")["reliability"]["1h"]
        assert again["state_seconds"]["down"] == found["state_seconds"]["down"]
        assert again["state_seconds"]["off"] > 0
        assert again["score"] == again["uptime_ratio"] < 1
