"""What the server itself answers: to what is no HTTP, and where no view could."""

import json
from collections.abc import Iterable
from http.client import responses


class Reply:
    """Stands for the client's socket where gunicorn writes its own page of an error, and keeps the status of it."""

    def __init__(self) -> None:
        self.status = 500

    def gettimeout(self) -> float:
        """It never waits."""
        return 0.0

    def sendall(self, data: bytes) -> None:
        """Read the status line."""
        self.status = int(data.split(b" ", 2)[1])


def error_answer(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """A whole HTTP answer with an error in it, in the shapes of both APIs at once; it ends the connection."""
    is_ours = status >= 500
    error = {
        "type": "api_error" if is_ours else "invalid_request_error",
        "code": "internal_error" if is_ours else "invalid_request",
        "message": "Something went wrong on our side." if is_ours else "This is not a valid HTTP request.",
    }
    body = json.dumps({"type": "error", "error": error})
    lines = [
        f"HTTP/1.1 {status} {responses.get(status, 'Error')}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", body]).encode("latin-1")
