"""The official Anthropic SDK: messages, counts of tokens and models. Every second turn is streamed."""

from typing import Any

import anthropic
from dialogue import BOUND, MODEL, PROMPT, SCHEMA, demand

client = anthropic.Anthropic(max_retries=0)


def dialogue() -> str:
    messages: list[Any] = [{"role": "user", "content": PROMPT}]
    tools = [{"name": "add", "input_schema": SCHEMA}]
    asked: Any = {"model": MODEL, "messages": messages, "tools": tools, "max_tokens": 1000}
    for turn in range(BOUND):
        if turn % 2:
            with client.messages.stream(**asked) as stream:
                answer: Any = stream.get_final_message()
        else:
            answer = client.messages.create(**asked)
        calls = [part for part in answer.content if part.type == "tool_use"]
        if not calls:
            return str(answer.content[0].text)
        messages.append({"role": "assistant", "content": answer.content})
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": str(sum(call.input.values()))} for call in calls
        ]
        messages.append({"role": "user", "content": results})
    raise SystemExit("messages: no end")


demand(dialogue(), "messages: no text in the end")
counted = client.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "12345"}])
demand(counted.input_tokens == 2, "count_tokens: another count")
demand(MODEL in [entry.id for entry in client.models.list()], "models: the model is not in the list")
demand(client.models.retrieve(MODEL).display_name, "models: it has no name")
