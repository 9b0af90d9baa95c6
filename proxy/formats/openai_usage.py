"""The usage of a chat completion, however its upstream spells it, as what is billed. Pure.

OpenAI counts cached tokens inside `prompt_tokens`, and reasoning inside `completion_tokens`. Gateways and other vendors
tell either beside; `total_tokens` shows which. Every token is billed once, at its own price.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proxy.billing.pricing import Usage
from proxy.formats.api_format import UsageReport
from proxy.formats.json_body import JsonObject
from proxy.formats.usage_counts import Path, Told

_IN, _OUT = ("prompt_tokens_details", "input_tokens_details"), ("completion_tokens_details", "output_tokens_details")


def _in_details(details: Sequence[str], *names: str) -> tuple[Path, ...]:
    return tuple((outer, name) for outer in details for name in names)


PROMPT: tuple[Path, ...] = (("prompt_tokens",), ("input_tokens",))
COMPLETION: tuple[Path, ...] = (("completion_tokens",), ("output_tokens",))
TOTAL: tuple[Path, ...] = (("total_tokens",),)
CACHE_HIT: Path = ("prompt_cache_hit_tokens",)
CACHE_MISS: Path = ("prompt_cache_miss_tokens",)
READ: tuple[Path, ...] = (
    *_in_details(_IN, "cached_tokens", "cache_read_tokens", "cache_read_input_tokens"),
    ("cache_read_input_tokens",),
    ("cache_read_tokens",),
    ("cached_tokens",),
    CACHE_HIT,
)
WRITTEN: tuple[Path, ...] = (
    *_in_details(_IN, "cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"),
    ("cache_creation_input_tokens",),
    ("cache_write_tokens",),
    ("cache_creation_tokens",),
)
_LIVES: tuple[Path, ...] = (
    ("cache_creation",),
    *_in_details(_IN, "cache_creation_token_details", "cache_creation"),
)
WRITTEN_1H: tuple[Path, ...] = tuple((*path, "ephemeral_1h_input_tokens") for path in _LIVES)
WRITTEN_5M: tuple[Path, ...] = tuple((*path, "ephemeral_5m_input_tokens") for path in _LIVES)
REASONING: tuple[Path, ...] = (*_in_details(_OUT, "reasoning_tokens", "thinking_tokens"), ("reasoning_tokens",))
SEARCHES: tuple[Path, ...] = (
    *_in_details(_IN, "web_search_requests"),
    ("num_search_queries",),
    ("num_sources_used",),
)


@dataclass(frozen=True)
class _Counts:
    """What was told, each the largest; None where nothing was."""

    prompt: int | None
    completion: int | None
    total: int | None
    read: int
    written: int
    reasoning: int
    is_cache_beside: bool
    """Whether the spelling is that of a format in which the input excludes the cached tokens."""


def read_usage(usages: Sequence[JsonObject], *, is_refusal: bool = False) -> UsageReport:
    """The usage that an answer, or the events of a stream, told in this order; `is_refusal` if the model refused.

    Each count is its largest valid value over all places and times. What contradicts `total_tokens` is decided towards
    it, and named as the report's problem.
    """
    if not usages:
        return UsageReport(None, "missing")
    told = Told(usages)
    counts, written_1h = _read_counts(told)
    input_tokens, output_tokens, problem = _decide(counts, told)
    cost = told.cost()
    if is_refusal and not output_tokens:
        return UsageReport(Usage(), "refused before any output: not billed", told_cost=cost)
    cached = counts.read + counts.written
    is_input_told = bool(input_tokens)
    if not is_input_told and not output_tokens:
        return UsageReport(None, f"rejected: {told.rejected or 'no tokens'}", told_cost=cost)
    of_input = _kinds(told, _IN, (input_tokens or 0) - cached)
    of_output = _kinds(told, _OUT, output_tokens or 0)
    usage = Usage(
        input_tokens=max((input_tokens or 0) - cached - sum(of_input), 0),
        output_tokens=(output_tokens or 0) - sum(of_output),
        cache_write_tokens=counts.written - written_1h,
        cache_read_tokens=counts.read,
        cache_write_1h_tokens=written_1h,
        input_audio_tokens=of_input[0],
        input_image_tokens=of_input[1],
        output_audio_tokens=of_output[0],
        output_image_tokens=of_output[1],
        tool_uses=told.tool_uses(*SEARCHES),
    )
    if not is_input_told or output_tokens is None:
        problem = f"rejected: {told.rejected or ('no output tokens' if is_input_told else 'no input tokens')}"
    return UsageReport(usage, problem, is_input_told=is_input_told, is_output_told=bool(output_tokens), told_cost=cost)


def _read_counts(told: Told) -> tuple[_Counts, int]:
    """The counts, and how many of the tokens written to a cache are kept for an hour."""
    prompt = told.most(*PROMPT)
    hit, miss = told.most(CACHE_HIT), told.most(CACHE_MISS)
    if hit is not None and miss is not None:
        prompt = max(prompt or 0, hit + miss)
    written_1h = told.most(*WRITTEN_1H) or 0
    written = max(told.most(*WRITTEN) or 0, (told.most(*WRITTEN_5M) or 0) + written_1h)
    is_anthropic = told.most(("prompt_tokens",)) is None and (
        told.most(("cache_read_input_tokens",), ("cache_creation_input_tokens",)) is not None
    )
    counts = _Counts(
        prompt=prompt,
        completion=told.most(*COMPLETION),
        total=told.most(*TOTAL),
        read=told.most(*READ) or 0,
        written=written,
        reasoning=told.most(*REASONING) or 0,
        is_cache_beside=is_anthropic,
    )
    return counts, written_1h


def _decide(counts: _Counts, told: Told) -> tuple[int | None, int | None, str | None]:
    """All input tokens, all output tokens (None = not told), and what contradicts what."""
    prompt, completion, total = counts.prompt, counts.completion, counts.total
    if prompt is None or completion is None:
        return *_derive(counts), None
    for input_tokens, output_tokens in _readings(counts):
        if total == input_tokens + output_tokens:
            return input_tokens, output_tokens, None
    inside = _without_total(counts)
    if total is None or _is_stale(total, told) or total in _totals_without_cache(counts):
        return *inside, None
    if total <= inside[0]:  # Not even the input fits: it is no total of this answer.
        return *inside, f"total_tokens is {total}, its parts are {sum(inside)}"
    problem = f"total_tokens is {total}, its parts are {sum(inside)}: billed by the total"
    return inside[0], total - inside[0], problem


def _readings(counts: _Counts) -> Iterator[tuple[int, int]]:
    """What the counts can mean, input and output, the usual meaning first."""
    prompt, completion = counts.prompt or 0, counts.completion or 0
    read, written = counts.read, counts.written
    inputs = [prompt] if read + written <= prompt and not counts.is_cache_beside else []
    # Caches that are told beside the prompt: both, or one of the two while the other is inside.
    inputs += [prompt + read + written]
    inputs += [prompt + beside for beside, inside in ((read, written), (written, read)) if inside <= prompt]
    if counts.is_cache_beside and read + written <= prompt:
        inputs.append(prompt)
    for input_tokens in inputs:
        yield input_tokens, completion
    for input_tokens in inputs:
        yield input_tokens, completion + counts.reasoning


def _without_total(counts: _Counts) -> tuple[int, int]:
    """Input and output where no total tells whether something is beside: what cannot be inside is beside."""
    prompt, completion, cached = counts.prompt or 0, counts.completion or 0, counts.read + counts.written
    return (
        prompt + cached if counts.is_cache_beside or cached > prompt else prompt,
        completion + counts.reasoning if counts.reasoning > completion else completion,
    )


def _totals_without_cache(counts: _Counts) -> set[int]:
    """Totals of gateways that leave out cached tokens, though their prompt includes them or tells them beside."""
    told = (counts.prompt or 0) + (counts.completion or 0)
    return {told, told - counts.read, told - counts.read - counts.written} if counts.read + counts.written else {told}


def _is_stale(total: int, told: Told) -> bool:
    """Whether the total is that of an earlier time, which fits what was told with it."""
    for usage in told.usages:
        then = Told([usage])
        parts = (then.most(*PROMPT) or 0) + (then.most(*COMPLETION) or 0)
        if len(told.usages) > 1 and then.most(*TOTAL) == total == parts:
            return True
    return False


def _derive(counts: _Counts) -> tuple[int | None, int | None]:
    """Input and output where one of the two is not told; the total tells it, if there is one."""
    prompt, completion, total = counts.prompt, counts.completion, counts.total
    cached = counts.read + counts.written
    if prompt is not None and (counts.is_cache_beside or cached > prompt):
        prompt += cached
    if total is not None and prompt is not None and completion is None and total >= prompt:
        return prompt, total - prompt
    if total is not None and completion is not None and prompt is None and total >= completion + cached:
        return total - completion, completion
    # Reasoning that is told is output, whatever else is.
    return prompt if prompt is not None else cached or None, completion or counts.reasoning or completion


def _kinds(told: Told, details: Sequence[str], most: int) -> tuple[int, int]:
    """Tokens of sound and of images among the input or the output, which is `most` without what has its own price."""
    audio = min(told.most(*_in_details(details, "audio_tokens")) or 0, max(most, 0))
    images = min(told.most(*_in_details(details, "image_tokens")) or 0, max(most - audio, 0))
    return audio, images
