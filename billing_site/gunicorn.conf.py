"""How gunicorn serves: one set of threaded workers on the three ports (docs/performance.md says why threads)."""

import contextlib
import ctypes
import gc
import os

_address = os.environ.get("BIND_ADDRESS", "127.0.0.1")
_ports = (
    os.environ.get("SITE_PORT", "8000"),
    os.environ.get("OPENHANDS_PORT", "8004"),
    os.environ.get("OHMYGPT_PORT", "8005"),
)

bind = [f"{_address}:{port}" for port in _ports]
worker_class = "gthread"
workers = int(os.environ.get("GUNICORN_WORKERS", "2"))
# A running request takes one, a stream for as long as it lasts; they start when they are needed.
threads = int(os.environ.get("GUNICORN_THREADS", "500"))
worker_connections = 2 * threads + 1000
backlog = 2048
keepalive = 75
# Requests in flight finish before a worker stops: as long as the longest may take, unless `make run` is in a hurry.
_longest = float(os.environ.get("REQUEST_MAX_SECONDS", "900")) + 30
graceful_timeout = int(float(os.environ.get("GRACEFUL_TIMEOUT_SECONDS") or _longest))
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None
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


def post_worker_init(worker: object) -> None:
    """What is imported stays, and a request leaves few cycles: the garbage collector need not look so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
    # A large block goes back to the system as soon as it is freed. Left to itself glibc soon keeps all of them: thirty
    # bodies of 8 MiB left a process with 700 MiB, now with 90. Elsewhere than on glibc there is nothing to set.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
