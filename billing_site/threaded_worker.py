"""gunicorn's threaded worker, whose threads wait a moment for the next request of the connection that they serve.

gunicorn hands a connection back to its main thread after every request, and takes it from there for the next: two
queues, a pipe and two changes of thread. A client that keeps sending is served here by one thread, at less CPU
(docs/performance.md); one that does not is handed back as before, and occupies none.
"""

import select
from threading import Semaphore
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

LINGER_SECONDS = 0.25


class LingeringThreadWorker(ThreadWorker):
    """The worker class of billing_site/gunicorn.conf.py."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The other threads are left for connections that are not served yet.
        self._may_linger = Semaphore(self.cfg.threads // 2)

    def init_process(self) -> None:
        """Begin as a process of its own, and serve until the end."""
        # A request looks some thirty settings up, each by two calls; here they never change.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        super().init_process()

    def handle(self, conn: TConn) -> Any:
        """Serve a connection in a thread of the pool; returns what is to be done with it, as the base class says."""
        result = super().handle(conn)
        while result is True and self.alive and self._has_next_request(conn):
            result = super().handle(conn)
        return result

    def _has_next_request(self, conn: TConn) -> bool:
        if conn.parser.unreader.buf.getvalue():
            return True
        if not self._may_linger.acquire(blocking=False):
            return False
        try:
            poll = select.poll()
            poll.register(conn.sock, select.POLLIN)
            return bool(poll.poll(LINGER_SECONDS * 1000))
        finally:
            self._may_linger.release()
