"""The SDK of LiteLLM by its three names for us: `litellm_proxy/` with a bare host, `openai/`, `anthropic/`."""

from typing import Any

import litellm
from dialogue import BASE_URL, BOUND, KEY, MODEL, PROMPT, SCHEMA, demand

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": SCHEMA}}]


def dialogue() -> Any:
    messages: list[Any] = [{"role": "user", "content": PROMPT}]
    for turn in range(BOUND):
        asked: Any = {"messages": messages, "tools": TOOLS, "api_key": KEY, "num_retries": 0}
        name, base = [("litellm_proxy", BASE_URL), ("openai", f"{BASE_URL}/v1"), ("anthropic", BASE_URL)][turn % 3]
        message: Any = litellm.completion(f"{name}/{MODEL}", api_base=base, **asked).choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message.model_dump())
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "3"} for call in message.tool_calls]
    raise SystemExit("no end")


demand(dialogue(), "no text in the end")
