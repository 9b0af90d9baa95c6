"""How gunicorn serves: threaded workers on the ports of what SERVE names (docs/performance.md says why threads)."""

import contextlib
import ctypes
import gc
import os
import resource
from typing import Any

from billing_site.worker import forget_worker

_address = os.environ.get("BIND_ADDRESS", "127.0.0.1")
_site = (os.environ.get("SITE_PORT", "8000"),)
_api = (os.environ.get("OPENHANDS_PORT", "8004"), os.environ.get("OHMYGPT_PORT", "8005"))
_ports = {"site": _site, "api": _api, "all": _site + _api}
_served = os.environ.get("SERVE") or "all"
if _served not in _ports:
    raise ValueError(f"SERVE={_served}: it must be one of {', '.join(_ports)}")

bind = [f"{_address}:{port}" for port in _ports[_served]]
worker_class = "billing_site.worker.Worker"
workers = int(os.environ.get("GUNICORN_WORKERS", "2"))
# A running request takes one, a stream for as long as it lasts; they start when they are needed.
threads = int(os.environ.get("GUNICORN_THREADS", "500"))
# A connection needs a file, a running request another one for its upstream; the database and the rest need some too.
_, _most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_most_files, _most_files))
if _most_files == resource.RLIM_INFINITY:
    _most_files = 1_000_000
worker_connections = max(threads, min(2 * threads + 1000, _most_files - threads - 250))
backlog = 2048
keepalive = 75
# Requests in flight finish before a worker stops: as long as the longest may take, unless `make run` is in a hurry.
_longest = float(os.environ.get("REQUEST_MAX_SECONDS", "900")) + 30
graceful_timeout = int(float(os.environ.get("GRACEFUL_TIMEOUT_SECONDS") or _longest))
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
limit_request_line = 8190
# No header says where a request came from or what its path is. gunicorn would believe those of a proxy on this machine,
# which may pass on what a client sent; what the site believes of its proxies is a setting of Django's.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
accesslog = os.environ.get("ACCESS_LOG")
# Neither the query, nor the page before, nor a user's name: people search for keys, and send them by HTTP's own log-in.
access_log_format = '%(h)s %(t)s "%(m)s %(U)s %(H)s" %(s)s %(b)s "%(a)s"'
control_socket_disable = True

M_MMAP_THRESHOLD = -3  # https://man7.org/linux/man-pages/man3/mallopt.3.html
LARGE_BLOCK_BYTES = 256 * 1024


def post_worker_init(worker: Any) -> None:
    """What is imported stays, and a request leaves few cycles: the garbage collector need not look so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
    # A large block goes back to the system as soon as it is freed. Left to itself glibc soon keeps all of them: thirty
    # bodies of 8 MiB left a process with 700 MiB, now with 90. Elsewhere than on glibc there is nothing to set.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
    worker.log.info("Ready to serve")


def child_exit(server: object, worker: object) -> None:
    """What ended a worker may have been anything; the others must know."""
    forget_worker(worker)
