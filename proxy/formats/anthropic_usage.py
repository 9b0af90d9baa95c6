"""The usage of an Anthropic message, plain or from its stream's events, as what is billed. Pure.

`input_tokens` excludes the cached tokens, which are reported beside it. A stream reports its input at the start and its
cumulative output at the end, and some servers repeat counts as 0 in between.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from proxy.billing.pricing import Usage
from proxy.formats import openai_usage
from proxy.formats.api_format import UsageReport
from proxy.formats.json_body import JsonObject
from proxy.formats.usage_counts import LIVES, MOST_TOKENS, Kinds, Reported, as_count

KINDS: Kinds = {
    "input_tokens": ("input",),
    "output_tokens": ("output",),
    "cache_read_input_tokens": ("read",),
    "cache_creation_input_tokens": ("written",),
    "cache_creation": LIVES,
    "prompt_tokens": ("as_openai",),
}
MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class _Counts:
    """Tokens by kind, each once."""

    input: int = 0
    output: int = 0
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    def plus(self, other: "_Counts") -> "_Counts":
        return _Counts(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def largest(self, other: "_Counts") -> "_Counts":
        return _Counts(*map(max, zip(astuple(self), astuple(other), strict=True)))

    def is_like(self, other: "_Counts") -> bool:
        return (self.input, self.output) == (other.input, other.output)


def read_usage(usages: Sequence[JsonObject], *, is_final: bool = True, is_refusal: bool = False) -> UsageReport:
    """The usage that a message, or the events of its stream, reported in this order.

    Each count is its largest valid value over all of them. `is_final` is whether the last usage of a stream has come:
    the first has only a beginning of the output. `is_refusal`: the model refused; without output that is not billed.
    """
    if not usages:
        return UsageReport(None, "missing")
    reported = Reported(usages, KINDS)
    if reported.get("input") is None and reported.get("as_openai") is not None:
        return openai_usage.read_usage(usages, is_refusal=is_refusal)  # A gateway reported it in the other format.
    # LiteLLM reckons the cost of a stream from its last event alone, which is of the output where it has no input.
    cost = reported.cost(beside="input_tokens")
    if is_refusal and _last_output(usages) == 0:
        return UsageReport(Usage(), "refused before any output: not billed", told_cost=cost)
    counts = _with_iterations(_read_counts(reported), usages)
    usage = Usage(
        input_tokens=counts.input,
        output_tokens=counts.output,
        cache_write_tokens=counts.written_5m,
        cache_read_tokens=counts.read,
        cache_write_1h_tokens=counts.written_1h,
        tool_uses=reported.tool_uses(),
    )
    is_input_reported, is_output_reported = usage.total_input_tokens > 0, reported.get("output") is not None
    if not is_input_reported and not counts.output:
        return UsageReport(None, f"rejected: {reported.rejected or 'no tokens'}", told_cost=cost)
    problem = None
    if not is_input_reported:
        problem = f"rejected: {reported.rejected or 'no input tokens'}"
    elif not is_output_reported:
        problem = f"rejected: {reported.rejected or 'no output tokens'}"
    elif not is_final:
        problem = "incomplete"
    return UsageReport(
        usage,
        problem,
        is_input_reported=is_input_reported,
        is_output_reported=is_final and counts.output > 0,
        told_cost=cost,
    )


def _read_counts(reported: Reported) -> _Counts:
    written_1h = reported.count("written_1h")
    written = max(reported.count("written"), reported.count("written_5m") + written_1h)
    return _Counts(
        input=reported.count("input"),
        output=reported.count("output"),
        read=reported.count("read"),
        written_5m=written - written_1h,
        written_1h=written_1h,
    )


def _with_iterations(top: _Counts, usages: Sequence[JsonObject]) -> _Counts:
    """The whole of a message with several runs of a model: compactions, attempts of other models, advisors.

    The top level reports the turn that was answered; `iterations` reports every run, that one usually among them.
    https://platform.claude.com/docs/en/build-with-claude/compaction#understanding-usage
    """
    if not any("iterations" in usage for usage in usages):
        return top
    runs = max((_runs_of(usage) for usage in usages), key=lambda runs: (_sum(runs), repr(runs)), default=[])
    if not runs:
        return top
    all_runs = _Counts()
    answered = _Counts()
    beside = _Counts()
    for kind, counts in runs:
        all_runs = all_runs.plus(counts)
        if kind == "message":
            answered = answered.plus(counts)
        else:
            beside = beside.plus(counts)
    is_among = any(counts.is_like(top) for _, counts in runs) or answered.is_like(top)
    whole = all_runs.largest(top) if is_among else answered.largest(top).plus(beside)
    return whole if max(astuple(whole)) <= MOST_TOKENS else top


def _runs_of(usage: JsonObject) -> list[tuple[str, _Counts]]:
    runs = usage.get("iterations")
    if not isinstance(runs, list):
        return []
    read = [run for run in runs[:MOST_ITERATIONS] if isinstance(run, dict)]
    return [(str(run.get("type") or "message"), _read_counts(Reported([run], KINDS))) for run in read]


def _sum(runs: list[tuple[str, _Counts]]) -> int:
    return sum(sum(astuple(counts)) for _, counts in runs)


def _last_output(usages: Sequence[JsonObject]) -> int | None:
    """The output as it was reported last."""
    reported = [count for usage in usages if (count := as_count(usage.get("output_tokens"))) is not None]
    return reported[-1] if reported else None
