"""Which values of the header `anthropic-beta` are forwarded: those that change no price, or that the row prices."""

import logging
import re

from proxy.billing.pricing import Price

logger = logging.getLogger(__name__)

PASS, LEAVE_OUT, LONG_CONTEXT = "pass", "leave out", "long context"
BETAS_THAT_PASS = frozenset(
    (
        "adaptive-thinking",
        "advanced-tool-use",
        "agent-memory",
        "cache-diagnosis",
        "claude-code",
        "computer-use",
        "context-management",
        "dev-full-thinking",
        "effort",
        "extended-cache-ttl",
        "fine-grained-tool-streaming",
        "inline-tools",
        "interleaved-thinking",
        "max-tokens",
        "mid-conversation-output-config",
        "mid-conversation-system",
        "mid-conversation-system-clear-at",
        "mid-conversation-tool-changes",
        "model-context-window-exceeded",
        "output-128k",
        "output-300k",
        "pdfs",
        "prompt-caching",
        "prompt-caching-scope",
        "structured-outputs",
        "task-budgets",
        "thinking-binding-controls",
        "thinking-display-updates",
        "thinking-token-count",
        "token-counting",
        "token-efficient-tools",
        "tool-examples",
    )
)
"""Values of `anthropic-beta`, without their date, that change no price by themselves."""
BETAS_WITH_A_PRICE = {"context-1m": LONG_CONTEXT, "fast-mode": "speed=fast"}
"""Those that pass where the price row has a price for this."""
BETAS_LEFT_OUT = frozenset(
    (
        "advisor-tool",
        "admin-user-sign-out",
        "analytics-usage-cost",
        "ce-claude-code-managed-settings",
        "ce-plugins",
        "ce-user-management",
        "code-execution",
        "compact",
        "dreaming",
        "experimental-claude-tag",
        "fallback-credit",
        "files-api",
        "managed-agents",
        "mcp-client",
        "mcp-tunnels",
        "message-batches",
        "message-threads",
        "oauth",
        "server-side-fallback",
        "skills",
        "spend-limit-reads",
        "telemetry-destinations",
        "user-profiles",
        "user-profiles-billing",
        "webhooks",
    )
)
"""Those that are never forwarded: they reach other models, the operator's account, or what is not in the request."""
_BETA = re.compile(r"(.+)-[0-9]{4}-?[0-9]{2}-?[0-9]{2}")


def class_of_beta(beta: str) -> str | None:
    """How a value of `anthropic-beta` is treated: `PASS`, `LEAVE_OUT`, or the option that it is priced as.

    None for one that is not known, which is left out too.
    """
    found = _BETA.fullmatch(beta)
    name = found[1] if found else beta
    if name in BETAS_THAT_PASS:
        return PASS
    if name in BETAS_LEFT_OUT:
        return LEAVE_OUT
    return BETAS_WITH_A_PRICE.get(name)


_MOST_TOLD = 1000
_told: set[str] = set()


def passing_betas(header: str, price: Price) -> str:
    """The values of an `anthropic-beta` header that are forwarded, in their order; empty for none.

    What is left out is logged once a process, so that an operator learns of a value that nobody has classified.
    """
    kept = []
    for beta in (value.strip() for value in header.split(",")):
        treatment = class_of_beta(beta)
        has_price = bool(price.charged.tiers) if treatment == LONG_CONTEXT else treatment in price.charged.multipliers
        if treatment == PASS or has_price:
            kept.append(beta)
        elif beta and beta not in _told and len(_told) < _MOST_TOLD:
            _told.add(beta)
            logger.warning("anthropic-beta %r is not forwarded: it is not known, or has no price", beta[:100])
    return ",".join(kept)
