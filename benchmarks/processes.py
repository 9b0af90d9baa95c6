"""CPU time and memory of other processes, as Linux tells them."""

import os
import time
from collections.abc import Iterable
from pathlib import Path


def with_children(pid: int) -> list[int]:
    """A process and its direct children, such as gunicorn's or nginx's workers."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of all threads of these processes since they started, user and system, in seconds."""
    return sum(time.clock_gettime(_cpu_clock(pid)) for pid in pids)


def _cpu_clock(pid: int) -> int:
    """A process's CPU clock as clock_getcpuclockid(3) makes its id. (The times in /proc are counted in 10 ms.)"""
    return (~pid << 3) | 2


def memory_mb(pids: Iterable[int]) -> tuple[float, float | None]:
    """Resident memory of these processes together, in MB: RSS, and PSS (shared pages counted once) if readable."""
    pids = list(pids)
    page_mb = os.sysconf("SC_PAGE_SIZE") / 2**20
    rss = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page_mb for pid in pids)
    try:
        return rss, sum(_pss_mb(pid) for pid in pids)
    except OSError:
        return rss, None


def _pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise OSError("no PSS in smaps_rollup")
