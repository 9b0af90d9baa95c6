"""One metered call as the API formats describe it, and what a format must be able to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar, Protocol

from proxy.billing.pricing import Usage
from proxy.formats.generated_text import TextMeter
from proxy.formats.json_body import JsonObject
from proxy.formats.members import Asked


@dataclass(frozen=True)
class Call:
    """What billing needs to know of a request.

    `max_output_tokens` is the limit that the client set, for one choice; `thinking_tokens` is a budget for thinking,
    which may be larger. `must_name_limit`: the format demands that limit, so clients name the model's largest, whatever
    they need. `limit_member` is what it is called. `demanded_tool` is the tool that the model must use: its name, or
    `ANY_TOOL`. `has_output` is false where the answer is no text, and only the input is billed.
    """

    model: str
    is_stream: bool
    max_output_tokens: int | None
    choices: int
    text_bytes: int
    has_asked_for_usage: bool
    asked: Asked = field(default_factory=Asked)
    thinking_tokens: int = 0
    must_name_limit: bool = False
    limit_member: str = "max_tokens"
    demanded_tool: str | None = None
    has_output: bool = True


ANY_TOOL = "*"


@dataclass(frozen=True)
class UsageReport:
    """Usage as the upstream reported it.

    What was reported counts, whatever is wrong with the rest: `problem` says that for the log. What is not reported (no
    `usage`, or one of the flags is False) is estimated; an output of 0 is as good as not reported where there is text.
    `told_cost` is what the upstream says that the answer cost the operator, in USD.
    """

    usage: Usage | None
    problem: str | None = None
    is_input_reported: bool = True
    is_output_reported: bool = True
    told_cost: Decimal | None = None

    @property
    def lacks_input(self) -> bool:
        return self.usage is None or not self.is_input_reported

    @property
    def lacks_output(self) -> bool:
        return self.usage is None or not self.is_output_reported

    @property
    def is_exact(self) -> bool:
        """Whether nothing of it has to be estimated."""
        return not (self.lacks_input or self.lacks_output)


class StreamReader(Protocol):
    """Passes an answer through while it comes, and picks out what billing needs."""

    is_finished: bool
    """Whether the answer is whole: what follows is nothing."""

    error: JsonObject | None
    """The error that the upstream reported in the answer, which is not passed on. Nothing after it is."""

    answered_model: str | None
    """The model that says it answered."""

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of generated text so far, for an estimate."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they arrive and return those to send on now."""

    def flush(self) -> bytes:
        """The upstream has ended as it should: what is left to send on."""

    def report(self) -> UsageReport:
        """The usage that was reported."""

    def says_nothing(self) -> bool:
        """Whether there is no answer in what came: no text, no usage, no reason to stop."""


class ApiFormat(Protocol):
    """One API format: how its requests, answers and streams are read, and how its errors are written."""

    path: ClassVar[str]

    answer_member: ClassVar[str]
    """The list that every answer has."""

    def parse(self, parsed: JsonObject, body_bytes: int) -> Call: ...

    def prepare(
        self,
        body: bytes,
        parsed: JsonObject,
        call: Call,
        *,
        model: str,
        max_output_tokens: int,
        output_member: str | None = None,
        removed_tools: Sequence[int] = (),
    ) -> bytes:
        """The body to forward: model mapped, usage asked for, output bound, tools left out; the rest byte for byte."""

    def is_answer(self, answer: JsonObject) -> bool:
        """Whether a JSON object is an answer of the format, and not an error or nothing."""

    def read_usage(self, answer: JsonObject) -> UsageReport:
        """The usage of a whole answer."""

    def read_usages(self, usages: Sequence[JsonObject]) -> UsageReport:
        """The usage of an answer of which only its usage objects were seen."""

    def output_text_bytes(self, data: bytes, answer: JsonObject) -> int:
        """UTF-8 bytes of all that the model wrote in a whole answer; `answer` is what `data` says."""

    def text_meter(self) -> TextMeter:
        """The same for an answer that is seen piece by piece."""

    def stream_reader(self, call: Call) -> "EventReader": ...

    def error_body(self, *, status: int, code: str, message: str, details: JsonObject) -> JsonObject: ...

    def error_event(self, body: JsonObject, reader: StreamReader) -> bytes:
        """An error's body as what ends a stream that has begun; `reader` has read it so far."""


class EventReader(StreamReader, Protocol):
    """Reads a stream of server-sent events."""

    has_begun: bool
    """Whether an event with data has come."""

    is_garbage: bool
    """Whether the first event with data is none of the format."""
