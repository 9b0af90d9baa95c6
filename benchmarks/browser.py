"""A staff member's browser as far as the bench needs one: cookies, the log-in form, and how long a page took."""

import re
import time
from urllib.parse import urlencode

import urllib3

from benchmarks.load import HOST, PATIENCE_SECONDS

FIRST_BYTES = 4096


class BrowserError(Exception):
    """A page did not open: a time taken over errors would mean nothing."""


class Browser:
    """Keeps one connection and its cookies, also those for TLS alone: the site is asked on loopback."""

    def __init__(self, port: int) -> None:
        self._pool = urllib3.HTTPConnectionPool(HOST, port, maxsize=1, timeout=PATIENCE_SECONDS, retries=False)
        self._cookies: dict[str, str] = {}

    def log_in(self, name: str, password: str) -> None:
        """Through the form, as staff do."""
        path = "/admin/login/"
        form = self._ask("GET", path).data.decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        fields = {"csrfmiddlewaretoken": token[1] if token else "", "username": name, "password": password}
        answer = self._ask("POST", path, urlencode(fields))
        if answer.status != 302:
            raise BrowserError(f"the log-in was answered with {answer.status}")

    def open(self, address: str, *, is_long: bool = False) -> float:
        """Seconds until the page was there, or, if it is long, its first bytes. Raises `BrowserError`."""
        started = time.perf_counter()
        answer = self._ask("GET", address, preload_content=not is_long)
        if is_long:
            answer.read(FIRST_BYTES)
            answer.close()
        seconds = time.perf_counter() - started
        if answer.status != 200:
            raise BrowserError(f"{address} was answered with {answer.status}")
        return seconds

    def _ask(
        self, method: str, address: str, body: str | None = None, *, preload_content: bool = True
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        answer = self._pool.urlopen(
            method, address, body=body, headers=headers, redirect=False, preload_content=preload_content
        )
        for cookie in answer.headers.getlist("Set-Cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        return answer
