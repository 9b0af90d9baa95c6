"""Serves the site in processes of their own, so that tests can take their database away, or their lives.

`python -m tests.payments.server` prints the port of each of its processes and serves until its standard input closes.
`KILL_AT=before:1,after:3` starts two: one dies, as by `kill -9`, right before it sends its first write to the database,
the other right after its third succeeded. They are forked, so that Django is imported once.
"""

import os
import signal
import sys
import threading
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from pymongo import monitoring

WRITES = {"insert", "update", "delete", "findAndModify", "commitTransaction"}


class Death(monitoring.CommandListener):
    """Ends the process at one write, counted from 1."""

    def __init__(self, moment: str, number: int) -> None:
        self.moment = moment
        self.number = number
        self.count = 0

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in WRITES:
            self.count += 1
            self._die_at("before")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        if event.command_name in WRITES:
            self._die_at("after")

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass

    def _die_at(self, moment: str) -> None:
        if (moment, self.count) == (self.moment, self.number):
            os._exit(9)


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 256

    def server_bind(self) -> None:
        # The standard one asks the name service who 127.0.0.1 is.
        self.socket.bind(("127.0.0.1", 0))
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]
        self.setup_environ()


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def serve(server: Server, kill_at: str, lifeline: int) -> None:
    """The life of one process: it ends with its parent, whose end closes the lifeline."""
    moment, _, number = kill_at.partition(":")
    if moment:
        monitoring.register(Death(moment, int(number)))
    threading.Thread(target=lambda: os._exit(len(os.read(lifeline, 1))), daemon=True).start()
    server.serve_forever()


def main() -> None:
    from billing_site.wsgi import application

    lifeline, held = os.pipe()
    children = []
    for kill_at in os.environ.get("KILL_AT", "").split(","):
        server = Server(("127.0.0.1", 0), Quiet)
        server.set_app(application)
        child = os.fork()
        if child == 0:
            os.close(held)
            serve(server, kill_at, lifeline)
        children.append(child)
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.socket.close()
    sys.stdin.read()
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
