"""Serves the site in a process of its own, so that tests can take its database away, or its life.

`python -m tests.payments.server` prints its port and serves until its standard input closes. `KILL_AT=before:3` makes
it die, as by `kill -9`, right before it sends its third write to the database; `after:3` right after that succeeded.
"""

import os
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
        socket_address = ("127.0.0.1", 0)
        self.socket.bind(socket_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]
        self.setup_environ()


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def main() -> None:
    moment, _, number = os.environ.get("KILL_AT", "").partition(":")
    if moment:
        monitoring.register(Death(moment, int(number)))
    from billing_site.wsgi import application

    server = Server(("127.0.0.1", 0), Quiet)
    server.set_app(application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
