"""The usage of a chat completion, however its upstream spells it, as what is billed. Pure.

OpenAI counts cached tokens inside `prompt_tokens`, and reasoning inside `completion_tokens`. Gateways and other vendors
report either beside; `total_tokens` shows which. Every token is billed once, at its own price.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from proxy.billing.pricing import Usage
from proxy.formats.api_format import UsageReport
from proxy.formats.json_body import JsonObject
from proxy.formats.usage_counts import LIVES, Kinds, Reported

_IN: Kinds = {
    **dict.fromkeys(("cached_tokens", "cache_read_tokens", "cache_read_input_tokens"), ("read",)),
    **dict.fromkeys(("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"), ("written",)),
    **dict.fromkeys(("cache_creation_token_details", "cache_creation"), LIVES),
    "audio_tokens": ("input_audio",),
    "image_tokens": ("input_images",),
    "web_search_requests": ("searches",),
}
_OUT: Kinds = {
    **dict.fromkeys(("reasoning_tokens", "thinking_tokens"), ("reasoning",)),
    "audio_tokens": ("output_audio",),
    "image_tokens": ("output_images",),
}
KINDS: Kinds = {
    "prompt_tokens": ("prompt", "prompt_tokens"),
    "input_tokens": ("prompt",),
    **dict.fromkeys(("completion_tokens", "output_tokens"), ("completion",)),
    "total_tokens": ("total",),
    **dict.fromkeys(("prompt_tokens_details", "input_tokens_details"), _IN),
    **dict.fromkeys(("completion_tokens_details", "output_tokens_details"), _OUT),
    "prompt_cache_hit_tokens": ("read", "hit"),
    "prompt_cache_miss_tokens": ("miss",),
    **dict.fromkeys(("cache_read_tokens", "cached_tokens"), ("read",)),
    **dict.fromkeys(("cache_write_tokens", "cache_creation_tokens"), ("written",)),
    "cache_read_input_tokens": ("read", "cache_as_anthropic"),
    "cache_creation_input_tokens": ("written", "cache_as_anthropic"),
    "cache_creation": LIVES,
    "reasoning_tokens": ("reasoning",),
    **dict.fromkeys(("num_search_queries", "num_sources_used"), ("searches",)),
    # Amazon's and Google's names, which some gateways leave as they are.
    **dict.fromkeys(("promptTokens", "inputTokens", "promptTokenCount"), ("prompt", "prompt_tokens")),
    **dict.fromkeys(("completionTokens", "outputTokens", "candidatesTokenCount"), ("completion",)),
    **dict.fromkeys(("totalTokens", "totalTokenCount"), ("total",)),
    **dict.fromkeys(("cachedContentTokenCount", "cacheReadInputTokens"), ("read",)),
    "cacheWriteInputTokens": ("written",),
    "thoughtsTokenCount": ("reasoning",),
}


class _Counts(NamedTuple):
    """What was reported, each the largest; None where nothing was."""

    prompt: int | None
    completion: int | None
    total: int | None
    read: int
    written: int
    reasoning: int
    is_cache_beside: bool
    """Whether the spelling is that of a format in which the input excludes the cached tokens."""


def read_usage(usages: Sequence[JsonObject], *, is_refusal: bool = False) -> UsageReport:
    """The usage that an answer, or the events of a stream, reported in this order; `is_refusal` if the model refused.

    Each count is its largest valid value over all places and times. What contradicts `total_tokens` is decided towards
    it, and named as the report's problem.
    """
    if not usages:
        return UsageReport(None, "missing")
    reported = Reported(usages, KINDS)
    counts, written_1h = _read_counts(reported)
    input_tokens, output_tokens, problem = _decide(counts, reported)
    cost = reported.cost()
    if is_refusal and not output_tokens:
        return UsageReport(Usage(), "refused before any output: not billed", told_cost=cost)
    cached = counts.read + counts.written
    is_input_reported = bool(input_tokens)
    if not is_input_reported and not output_tokens:
        return UsageReport(None, f"rejected: {reported.rejected or 'no tokens'}", told_cost=cost)
    of_input = _of_other_kinds(reported, "input", (input_tokens or 0) - cached)
    of_output = _of_other_kinds(reported, "output", output_tokens or 0)
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
        tool_uses=reported.tool_uses(),
    )
    if not is_input_reported or output_tokens is None:
        problem = f"rejected: {reported.rejected or ('no output tokens' if is_input_reported else 'no input tokens')}"
    return UsageReport(
        usage, problem, is_input_reported=is_input_reported, is_output_reported=bool(output_tokens), told_cost=cost
    )


def _read_counts(reported: Reported) -> tuple[_Counts, int]:
    """The counts, and how many of the tokens written to a cache are kept for an hour."""
    prompt = reported.get("prompt")
    hit, miss = reported.get("hit"), reported.get("miss")
    if hit is not None and miss is not None:
        prompt = max(prompt or 0, hit + miss)
    written_1h = reported.count("written_1h")
    is_anthropic = reported.get("prompt_tokens") is None and reported.get("cache_as_anthropic") is not None
    counts = _Counts(
        prompt=prompt,
        completion=reported.get("completion"),
        total=reported.get("total"),
        read=reported.count("read"),
        written=max(reported.count("written"), reported.count("written_5m") + written_1h),
        reasoning=reported.count("reasoning"),
        is_cache_beside=is_anthropic,
    )
    return counts, written_1h


def _decide(counts: _Counts, reported: Reported) -> tuple[int | None, int | None, str | None]:
    """All input tokens, all output tokens (None = not reported), and what contradicts what."""
    prompt, completion, total = counts.prompt, counts.completion, counts.total
    if prompt is None or completion is None:
        return *_derive(counts), None
    if total == prompt + completion and counts.read + counts.written <= prompt and not counts.is_cache_beside:
        return prompt, completion, None  # As nearly all upstreams report it.
    for input_tokens, output_tokens in _readings(counts):
        if total == input_tokens + output_tokens:
            return input_tokens, output_tokens, None
    inside = _without_total(counts)
    if total is None or _is_stale(total, reported) or total in _totals_without_cache(counts):
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
    # Caches that are reported beside the prompt: both, or one of the two while the other is inside.
    inputs += [prompt + read + written]
    inputs += [prompt + beside for beside, inside in ((read, written), (written, read)) if inside <= prompt]
    if counts.is_cache_beside and read + written <= prompt:
        inputs.append(prompt)
    for input_tokens in inputs:
        yield input_tokens, completion
    for input_tokens in inputs:
        yield input_tokens, completion + counts.reasoning


def _without_total(counts: _Counts) -> tuple[int, int]:
    """Input and output where no total shows whether something is beside: what cannot be inside is beside."""
    prompt, completion, cached = counts.prompt or 0, counts.completion or 0, counts.read + counts.written
    return (
        prompt + cached if counts.is_cache_beside or cached > prompt else prompt,
        completion + counts.reasoning if counts.reasoning > completion else completion,
    )


def _totals_without_cache(counts: _Counts) -> set[int]:
    """Totals of gateways that leave out cached tokens, though their prompt includes them or reports them beside."""
    reported = (counts.prompt or 0) + (counts.completion or 0)
    return (
        {reported, reported - counts.read, reported - counts.read - counts.written}
        if counts.read + counts.written
        else {reported}
    )


def _is_stale(total: int, reported: Reported) -> bool:
    """Whether the total is that of an earlier time, which fits what was reported with it."""
    if len(reported.usages) > 1:
        for usage in reported.usages:
            then = Reported([usage], KINDS)
            if then.get("total") == total == then.count("prompt") + then.count("completion"):
                return True
    return False


def _derive(counts: _Counts) -> tuple[int | None, int | None]:
    """Input and output where one of the two is not reported; the total shows it, if there is one."""
    prompt, completion, total = counts.prompt, counts.completion, counts.total
    cached = counts.read + counts.written
    if prompt is not None and (counts.is_cache_beside or cached > prompt):
        prompt += cached
    if total is not None and prompt is not None and completion is None and total >= prompt:
        return prompt, total - prompt
    if total is not None and completion is not None and prompt is None and total >= completion + cached:
        return total - completion, completion
    # Reasoning that is reported is output, whatever else is.
    return prompt if prompt is not None else cached or None, completion or counts.reasoning or completion


def _of_other_kinds(reported: Reported, side: str, most: int) -> tuple[int, int]:
    """Tokens of sound and of images among the input or the output, which is `most` without what has its own price."""
    audio = min(reported.count(f"{side}_audio"), max(most, 0))
    return audio, min(reported.count(f"{side}_images"), max(most - audio, 0))
