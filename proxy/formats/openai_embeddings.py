"""The OpenAI embeddings format: what is read of a request and of an answer. It has an input, no output, no stream."""

from collections.abc import Sequence
from typing import ClassVar

from proxy.billing.pricing import Usage
from proxy.errors import InvalidRequest
from proxy.formats.api_format import Call, UsageReport
from proxy.formats.generated_text import TextMeter
from proxy.formats.json_body import JsonObject, read_text, refuse_variants, with_members
from proxy.formats.members import GATEWAY_MEMBERS, Rule, passing, read_members, refusing
from proxy.formats.openai_chat import OpenAiChat
from proxy.formats.openai_usage import KINDS
from proxy.formats.token_input import TextOrTokens
from proxy.formats.usage_counts import Reported, find_usages

# The members of https://platform.openai.com/docs/api-reference/embeddings/create.
# tests/proxy/api/test_embeddings.py compares them with the official SDK.
MEMBERS: dict[str, Rule] = {
    **GATEWAY_MEMBERS,
    **passing("model", "dimensions", "encoding_format", "user"),
    "input": TextOrTokens(),
    **refusing(
        "What it adds to the input is not in the request.",
        "input_type",
        "instruction",
        "prompt_name",
        "task",
        "task_type",
    ),
}
_BILLED_BY = frozenset(("model", "input"))


class OpenAiEmbeddings(OpenAiChat):
    """`POST /v1/embeddings`. Its errors are those of all of OpenAI's endpoints."""

    path: ClassVar[str] = "/v1/embeddings"
    answer_member: ClassVar[str] = "data"

    def parse(self, parsed: JsonObject, body_bytes: int) -> Call:
        """Read what billing needs, and what is asked for. Raises `InvalidRequest`, `UnsupportedParameter`."""
        refuse_variants(parsed, _BILLED_BY)
        model = read_text(parsed, "model")
        if not parsed.get("input"):
            raise InvalidRequest("'input' is required: text, a list of texts, or tokens.", param="input")
        return Call(
            model=model,
            is_stream=False,
            max_output_tokens=None,
            choices=1,
            text_bytes=body_bytes,
            has_asked_for_usage=True,
            asked=read_members(parsed, MEMBERS),
            has_output=False,
        )

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
        """Map the model: there is nothing else to change."""
        return with_members(body, parsed, {"model": model} if model != call.model else {})

    def is_answer(self, answer: JsonObject) -> bool:
        data = answer.get("data")
        return (
            not answer.get("error")
            and isinstance(data, list)
            and bool(data)
            and all(isinstance(item, dict) and item.get("embedding") for item in data)
        )

    def read_usage(self, answer: JsonObject) -> UsageReport:
        return read_embedding_usage(list(find_usages(answer)))

    def read_usages(self, usages: Sequence[JsonObject]) -> UsageReport:
        return read_embedding_usage(usages)

    def output_text_bytes(self, data: bytes, answer: JsonObject) -> int:
        return 0

    def text_meter(self) -> TextMeter:
        return _VectorMeter()


def read_embedding_usage(usages: Sequence[JsonObject]) -> UsageReport:
    """The usage of an answer as what is billed: all of it is input, the larger of what is called so and the total."""
    if not usages:
        return UsageReport(None, "missing")
    reported = Reported(usages, KINDS)
    prompt, total, cost = reported.get("prompt"), reported.get("total"), reported.cost()
    tokens = max(prompt or 0, total or 0)
    if not tokens:
        return UsageReport(None, f"rejected: {reported.rejected or 'no tokens'}", told_cost=cost)
    problem = None
    if prompt is not None and total is not None and prompt != total:
        problem = f"total_tokens is {total}, prompt_tokens is {prompt}: billed by the larger"
    return UsageReport(Usage(input_tokens=tokens), problem, told_cost=cost)


class _VectorMeter(TextMeter):
    """Counts vectors instead of text: an answer that breaks off after some has said something, and is billed."""

    def __init__(self) -> None:
        super().__init__(())
        self._vectors = 0

    @property
    def size(self) -> int:
        return self._vectors

    def feed(self, data: bytes) -> None:
        self._vectors += data.count(b'"embedding"')
