"""gunicorn's threaded worker, which gives a thread only to a request that has come, and a place only to who uses it.

gunicorn's own (`gthread`) gives a thread to every connection: silent ones take all of them, a header or a body that
never ends keeps one for good, and closing a connection politely stops the whole process for two seconds. Here the main
thread reads headers and small bodies as they come. What has a thread waits for its client with patience
(billing_site/client_socket.py). Only public names of gunicorn are used.
"""

import errno
import mmap
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from socket import SHUT_WR, socket
from typing import Any

from gunicorn.errors import ConfigError
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.workers.gthread import TConn, ThreadWorker

from billing_site.client_socket import ClientSocket, Limits, WaitingThreads
from billing_site.security import api_headers
from billing_site.server_errors import Reply, error_answer

REFUSING_THREADS = 4
"""Threads that only say that there is none: each has its request for a millisecond."""
PAUSE_SECONDS = 1.0
"""A worker without a free thread leaves new connections for so long to the others, if one of them has any."""
REST_SECONDS = 0.05
"""So long nothing is accepted after the system refused to."""
ACCEPTED_AT_ONCE = 64
LINGER_SECONDS = 2.0
"""How long a connection that was answered last is read on: closed at once, it could lose the end of the answer."""
MOST_LINGER_BYTES = 256 * 1024
SWEEP_SECONDS = 0.25
MOST_EARLY_BYTES = 32 * 1024 * 1024
"""Of all connections together: beyond it the one that has been sending for the longest is dropped."""

ROOM = mmap.mmap(-1, 4096)
"""A byte for each worker, which all of them see: made before they are forked. 1 = it has a free thread."""


def forget_worker(worker: Any) -> None:
    """A worker has ended, however it did: it has no free thread."""
    ROOM[worker.age % len(ROOM)] = 0


class Worker(ThreadWorker):
    """One process. Everything here but `handle_request` and `handle_error` runs in its main thread.

    A connection is at any time in one place: `parked` until its request has come, `queued` while there is no thread,
    with a thread, idle between two requests (gunicorn's `keepalived_conns`), or `lingering` until its client closes it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.most_running: int = self.cfg.threads
        self.running = 0
        self.parked: dict[TConn, None] = {}
        self.queued: deque[tuple[float, TConn]] = deque()
        self.lingering: dict[TConn, tuple[float, int]] = {}
        self.polled: dict[TConn, socket] = {}
        self.waiting = WaitingThreads(max(1, self.most_running // 4))
        self.may_accept = self.is_listening = self.has_room = False
        self.rests_until = 0.0
        self.leaves_until = 0.0
        self.sweeps_at = 0.0

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Raises `ConfigError` for TLS, whose bytes say nothing of the request: a proxy in front speaks it."""
        if cfg.is_ssl:
            raise ConfigError("This worker speaks no TLS: put a proxy in front that does.")
        super().check_config(cfg, log)

    def load_wsgi(self) -> None:
        """The application, and with it what its settings say."""
        super().load_wsgi()
        from django.conf import settings

        self.error_headers = api_headers()
        self.thread_wait_seconds: float = settings.THREAD_WAIT_SECONDS
        self.limits = Limits(
            header_seconds=settings.CLIENT_HEADER_SECONDS,
            body_seconds=settings.CLIENT_BODY_SECONDS,
            patience_seconds=settings.CLIENT_TIMEOUT_SECONDS,
            bytes_per_second=settings.CLIENT_BYTES_PER_SECOND,
        )

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """Threads for requests, and some to refuse what finds none free."""
        return ThreadPoolExecutor(max_workers=self.most_running + REFUSING_THREADS)

    # --- Connections come ---

    def accept(self, listener: Any) -> None:
        """Take a connection, or many when no thread is free here: no other worker wanted them, so they are refused."""
        self.leaves_until = 0.0
        for _ in range(ACCEPTED_AT_ONCE if self.is_busy else 1):
            try:
                accepted, address = listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self.log.error("No connection can be accepted: %s", error)
                    self.drop_one()
                    self.rests_until = time.monotonic() + REST_SECONDS
                elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                    raise
                return
            self.nr_conns += 1
            client = ClientSocket(accepted, self.limits, self.waiting)
            conn = TConn(self.cfg, client, address, listener.getsockname())
            conn.data_ready = True  # It comes to a thread with its request.
            if self.nr_conns > self.worker_connections and not self.drop_one():
                self.drop(conn)
            else:
                self.read_on(conn)

    def set_accept_enabled(self, enabled: bool) -> None:
        """gunicorn's main loop allows it all the time, and forbids it when the worker stops."""
        self.may_accept = enabled
        if not enabled:
            self.listen(False)

    def is_turn(self) -> bool:
        """Whether new connections are this worker's to take: to serve them, or to refuse them where nobody can."""
        is_busy = self.is_busy
        has_room = self.may_accept and not is_busy
        if has_room != self.has_room:
            self.has_room = ROOM[self.age % len(ROOM)] = has_room
        if has_room and not self.rests_until:
            self.leaves_until = 0.0
            return True
        now = time.monotonic()
        if now < self.rests_until:
            return False
        self.rests_until = 0.0
        if not is_busy or ROOM.find(b"\1", 0) < 0:
            return True
        self.leaves_until = self.leaves_until or now + PAUSE_SECONDS
        return now >= self.leaves_until

    def listen(self, enabled: bool) -> None:
        """Watch the listening sockets, or leave what arrives there to the other workers."""
        if enabled == self.is_listening:
            return
        self.is_listening = enabled
        for listener in self.sockets:
            if enabled:
                listener.setblocking(False)
                self.poller.register(listener, EVENT_READ, self.accept)
            else:
                self.poller.unregister(listener)

    @property
    def is_busy(self) -> bool:
        """Whether no thread is free."""
        return self.running >= self.most_running

    # --- Requests come ---

    def read_on(self, conn: TConn) -> None:
        """Read what a client has sent. Its request goes to a thread once it is there, until then the client waits."""
        client = conn.sock
        is_open = client.read_early()
        if client.has_request() or (client.has_header and not is_open):
            self.forget(conn)
            self.serve(conn)
        elif not is_open:
            self.drop(conn)
        elif client.is_full:
            self.forget(conn)
            self.handle_error(None, client, conn.client, LimitRequestHeaders("the header is too long"))
            self.linger(conn)
        elif conn not in self.parked:
            self.parked[conn] = None
            self.watch(conn, self.on_parked_readable)

    def on_parked_readable(self, conn: TConn, client: Any) -> None:
        """More of a request has come."""
        if conn in self.parked:  # Not dropped since the poll.
            self.read_on(conn)

    def on_client_socket_readable(self, conn: TConn, client: Any) -> None:
        """Something has come on an idle connection: the next request, or its end."""
        if client.fileno() < 0:  # Dropped since the poll.
            return
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        client.begin_waiting()
        self.read_on(conn)

    def serve(self, conn: TConn) -> None:
        """Give a request a thread, or let it wait for one."""
        if self.is_busy:
            self.queued.append((time.monotonic(), conn))
        else:
            self.running += 1
            conn.sock.begin_request(has_no_thread=False)
            self.enqueue_req(conn)

    def refuse_queued(self) -> None:
        """Tell those that have waited too long for a thread that there is none."""
        latest = time.monotonic() - self.thread_wait_seconds
        while self.queued and self.queued[0][0] <= latest:
            _, conn = self.queued.popleft()
            conn.sock.begin_request(has_no_thread=True)
            self.enqueue_req(conn)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Serve a request, in a thread. What is refused ends its connection: nothing waits for the rest of its body."""
        if conn.sock.has_no_thread:
            req.force_close()
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what is no request, or what no view answered: as gunicorn does, in our own words."""
        reply = Reply()
        super().handle_error(req, reply, addr, exc)
        with suppress(OSError):
            client.setblocking(False)
            client.sendall(error_answer(reply.status, self.error_headers))

    # --- Requests end ---

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """A thread is done with a connection: it waits for its next request, which may have come, or is closed."""
        if not conn.sock.has_no_thread:
            self.running -= 1
            if self.queued:
                self.serve(self.queued.popleft()[1])
        try:
            if fs.cancelled() or fs.exception() or not fs.result():
                self.linger(conn)
                return
            conn.sock.setblocking(False)
            conn.sock.end_request(conn.parser.unreader.take_buffered())
            if conn.sock.early_bytes:
                self.read_on(conn)
            else:
                super().finish_request(conn, fs)
        except Exception:  # One connection never ends the process.
            self.log.exception("a connection was dropped")
            self.drop(conn)

    def linger(self, conn: TConn) -> None:
        """Close a connection once its client has read the answer, which is when it closes it too."""
        if conn.sock.is_given_up:
            conn.sock.abort()
            self.drop(conn)
            return
        try:
            conn.sock.shutdown(SHUT_WR)
            conn.sock.setblocking(False)
        except OSError:
            self.drop(conn)
            return
        self.lingering[conn] = (time.monotonic() + LINGER_SECONDS, 0)
        self.on_lingering_readable(conn, conn.sock)
        if conn in self.lingering:
            self.watch(conn, self.on_lingering_readable)

    def on_lingering_readable(self, conn: TConn, client: Any) -> None:
        """What still comes is of no use."""
        if conn not in self.lingering:  # Dropped since the poll.
            return
        deadline, dropped = self.lingering[conn]
        try:
            data = client.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data and dropped + len(data) < MOST_LINGER_BYTES:
            self.lingering[conn] = (deadline, dropped + len(data))
        else:
            self.drop(conn)

    # --- Connections end ---

    def drop(self, conn: TConn) -> None:
        """Close a connection, whatever it is doing; a thread has it never."""
        self.forget(conn)
        self.nr_conns -= 1
        conn.close()

    def drop_one(self) -> bool:
        """Make room for another connection: the one that is the least use goes. False if all have a thread."""
        for conns in (self.lingering, self.parked):
            if conns:
                self.drop(next(iter(conns)))
                return True
        if self.keepalived_conns:
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self.drop(conn)
            return True
        return False

    def watch(self, conn: TConn, callback: Callable[[TConn, Any], None]) -> None:
        """Call back whenever something can be read."""
        self.poller.register(conn.sock, EVENT_READ, partial(callback, conn))
        self.polled[conn] = conn.sock

    def forget(self, conn: TConn) -> None:
        """It is neither parked nor lingering, and nobody watches it."""
        self.parked.pop(conn, None)
        self.lingering.pop(conn, None)
        if watched := self.polled.pop(conn, None):
            self.poller.unregister(watched)

    # --- The main loop ---

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """One turn of gunicorn's main loop: what has happened, and what should have by now."""
        self.listen(self.is_turn() and self.may_accept)
        super().wait_for_and_dispatch_events(min(timeout, self.longest_wait()))
        if self.queued:
            self.refuse_queued()
        if time.monotonic() >= self.sweeps_at:
            self.sweep()

    def longest_wait(self) -> float:
        """Seconds until something has to be done, whatever comes."""
        longest = SWEEP_SECONDS if self.parked or self.lingering else 1.0
        if self.is_listening and not self.queued:
            return longest
        now = time.monotonic()
        if self.may_accept and not self.is_listening:
            longest = min(longest, max(self.rests_until, self.leaves_until) - now)
        if self.queued:
            longest = min(longest, self.queued[0][0] + self.thread_wait_seconds - now)
        return max(0.0, longest)

    def sweep(self) -> None:
        """Drop the connections whose time is over, and while they fill too much memory, those that came first."""
        now = time.monotonic()
        self.sweeps_at = now + SWEEP_SECONDS
        for conn in [conn for conn, (deadline, _) in self.lingering.items() if deadline <= now]:
            self.drop(conn)
        late = [conn for conn in self.parked if conn.sock.early_deadline <= now or self.is_forsaken(conn)]
        for conn in late:
            if conn.sock.has_header:  # A view answers what it can make of it.
                conn.sock.stop_waiting()
                self.forget(conn)
                self.serve(conn)
            else:
                self.drop(conn)
        early_bytes = sum(conn.sock.early_bytes for conn in self.parked)
        while early_bytes > MOST_EARLY_BYTES:
            conn = next(iter(self.parked))
            early_bytes -= conn.sock.early_bytes
            self.drop(conn)

    def is_forsaken(self, conn: TConn) -> bool:
        """Whether this worker stops, and the connection has sent nothing: nobody waits for it."""
        return not self.alive and not conn.sock.early_bytes
