"""One metered call as the API formats describe it, and what a format must be able to do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from django.conf import settings

from accounts.errors import BillingError
from proxy.billing.pricing import Usage
from proxy.formats.json_body import JsonObject

IMAGE_KINDS = {"image", "image_url", "input_image"}
FILE_KINDS = {"document", "file", "input_audio", "input_file", "audio", "video", "container_upload"}


@dataclass(frozen=True)
class Call:
    """What billing needs to know of a request. `max_output_tokens` is what the client asked for, for one choice."""

    model: str
    is_stream: bool
    max_output_tokens: int | None
    choices: int
    input_bound_tokens: int
    text_bytes: int
    has_asked_for_usage: bool


@dataclass(frozen=True)
class UsageReport:
    """Usage as the upstream reported it. With a `problem` it cannot be billed by as it is: it is estimated."""

    usage: Usage | None
    problem: str | None = None

    @property
    def is_exact(self) -> bool:
        """Whether it can be billed by."""
        return self.usage is not None and not self.problem


class StreamReader(Protocol):
    """Passes a stream through and picks the usage out of it."""

    is_finished: bool
    """Whether the last event of the format has come: what follows is nothing."""

    has_failed: bool
    """Whether the upstream has reported an error in the stream."""

    text_bytes: int
    """Bytes of generated text so far, for an estimate."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive and return those to send on now (whole events)."""

    def flush(self) -> bytes:
        """What is left when the upstream has ended."""

    def report(self) -> UsageReport:
        """The usage that the stream reported."""


class ApiFormat(Protocol):
    """One API format: how its requests, answers and streams are read, and how its errors are written."""

    path: ClassVar[str]

    def parse(self, parsed: JsonObject, body_bytes: int) -> Call: ...

    def prepare(self, body: bytes, parsed: JsonObject, call: Call, *, model: str, max_output_tokens: int) -> bytes:
        """The body to forward: mapped model, forced usage, output bound; the rest byte for byte."""

    def read_usage(self, answer: JsonObject) -> UsageReport: ...

    def output_text_bytes(self, answer: JsonObject) -> int: ...

    def stream_reader(self, call: Call) -> StreamReader: ...

    def error_body(self, *, status: int, code: str, message: str, details: JsonObject) -> JsonObject: ...

    def error_event(self, error: BillingError, message: str) -> bytes:
        """An error as an event of a stream that has begun."""


def bound_input_tokens(messages: list[Any], body_bytes: int) -> int:
    """The most input tokens that a request can have: its bytes over `BYTES_PER_TOKEN`, plus a bound per attachment.

    The bytes of an inline image are not text: a fixed bound stands for them. Those of a file count, and more.
    """
    images = files = image_bytes = 0
    for part in _content_parts(messages):
        kind = part.get("type")
        if kind in IMAGE_KINDS:
            images += 1
            image_bytes += _inline_bytes(part)
        elif kind in FILE_KINDS:
            files += 1
    tokens = -(-max(body_bytes - image_bytes, 0) // settings.BYTES_PER_TOKEN)
    bound: int = tokens + images * settings.IMAGE_TOKENS + files * settings.FILE_TOKENS
    return bound


def _content_parts(messages: list[Any]) -> Iterator[JsonObject]:
    """The parts of all messages, and those inside tool results. Not what merely looks like one, in a tool's input."""
    stack = [message.get("content") for message in messages if isinstance(message, dict)]
    while stack:
        content = stack.pop()
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and isinstance(part.get("type"), str):
                yield part
                if part["type"] == "tool_result":
                    stack.append(part.get("content"))


def _inline_bytes(image: JsonObject) -> int:
    """Bytes of an image's data in the body: OpenAI's data URL, or Anthropic's base64 source.

    Only of what says that it is an image: some upstreams read a document from the same place.
    """
    for holder in (image.get("image_url"), image.get("source")):
        if isinstance(holder, dict) and holder.get("type") == "base64":
            data, kind = holder.get("data"), holder.get("media_type")
            if isinstance(data, str) and isinstance(kind, str) and kind.startswith("image/"):
                return len(data)
        url = holder.get("url") if isinstance(holder, dict) else holder
        if isinstance(url, str) and url.startswith("data:image/"):
            return len(url)
    return 0


def read_tokens(report: JsonObject, name: str, *, is_required: bool = False) -> int:
    """A token count of a usage report; raises `ValueError` for what cannot be one.

    Absent and null are 0, unless the format always has the count: then they are a mistake, not usage.
    """
    value: object = report.get(name)
    if value is None and not is_required:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        raise ValueError(f"{name} is {str(value)[:40]}")
    return int(value)


MOST_TOKENS = 20_000_000
"""More tokens than any request can have: a count above is a mistake of the upstream, not usage."""
