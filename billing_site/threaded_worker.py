"""gunicorn's threaded worker, whose threads wait a moment for the next request of the connection that they serve.

gunicorn hands a connection back to its main thread after every request, and takes it from there for the next: two
queues, a pipe and two changes of thread. A client that keeps sending is served here by one thread, at less CPU
(docs/performance.md); one that does not is handed back as before, and occupies none.
"""

import select
import time
from email.utils import formatdate
from functools import lru_cache
from typing import Any

from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.http.body import LengthReader
from gunicorn.workers.gthread import TConn, ThreadWorker

LINGER_SECONDS = 0.25


class _Response(wsgi.Response):
    """An answer that leaves with one call where its body is known: the client need not be woken for the header."""

    headers_sent: bool  # The base class has no types.

    def write(self, arg: bytes) -> None:
        if self._omits_body:
            arg = b""  # Django answers a HEAD as a GET, of which gunicorn warns each time before it drops the body.
        if self.headers_sent or len(arg) != self.response_length:
            super().write(arg)
            return
        lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"]
        self.sock.sendall("".join(lines).encode("latin-1") + arg)
        self.headers_sent = True
        self.sent = len(arg)


@lru_cache(maxsize=2)
def _date_of(second: int) -> str:
    return formatdate(second, usegmt=True)


# gunicorn has no settings for these; requirements.txt pins the version that they were tried with.
wsgi.Response = _Response
util.http_date = lambda: _date_of(int(time.time()))


class LingeringThreadWorker(ThreadWorker):
    """The worker class of billing_site/gunicorn.conf.py."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The other threads are left for connections that are not served yet.
        self._may_linger = [None] * (self.cfg.threads // 2)

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
        try:
            place = self._may_linger.pop()
        except IndexError:
            return False
        try:
            poll = select.poll()
            poll.register(conn.sock, select.POLLIN)
            return bool(poll.poll(LINGER_SECONDS * 1000))
        finally:
            self._may_linger.append(place)

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Whether the connection can be used again. A body that was read to its end leaves nothing to read off."""
        reader = conn.parser.mesg.body.reader
        if keepalive and isinstance(reader, LengthReader) and reader.length == 0:
            return True
        return bool(super()._keepalive_after(conn, keepalive))
