"""The official OpenAI SDK: chat, responses, completions, embeddings and models. Every second turn is streamed."""

import json
from typing import Any

import openai
from dialogue import BOUND, MODEL, PROMPT, SCHEMA, demand

client = openai.OpenAI(max_retries=0)


def chat() -> str:
    messages: list[Any] = [{"role": "user", "content": PROMPT}]
    asked: Any = {
        "model": MODEL,
        "messages": messages,
        "tools": [{"type": "function", "function": {"name": "add", "parameters": SCHEMA, "strict": True}}],
    }
    for turn in range(BOUND):
        if turn % 2:
            with client.chat.completions.stream(**asked) as stream:
                message = stream.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.create(**asked).choices[0].message
        if not message.tool_calls:
            return message.content or ""
        calls = [
            {"id": call.id, "type": "function", "function": call.function.to_dict()} for call in message.tool_calls
        ]
        for call in calls:
            call["function"].pop("parsed_arguments", None)
        messages.append({"role": "assistant", "content": message.content, "tool_calls": calls})
        for call in calls:
            numbers = json.loads(call["function"]["arguments"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": str(sum(numbers.values()))})
    raise SystemExit("chat: no end")


def responses() -> str:
    items: list[Any] = [{"role": "user", "content": PROMPT}]
    tools = [{"type": "function", "name": "add", "parameters": SCHEMA, "strict": True}]
    asked: Any = {"model": MODEL, "input": items, "tools": tools}
    for turn in range(BOUND):
        if turn % 2:
            with client.responses.stream(**asked) as stream:
                for _ in stream:
                    pass
                answer: Any = stream.get_final_response()
        else:
            answer = client.responses.create(**asked)
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return str(answer.output_text)
        items += [
            {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
            for call in calls
        ]
        for call in calls:
            result = str(sum(json.loads(call.arguments).values()))
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
    raise SystemExit("responses: no end")


demand(chat(), "chat: no text in the end")
demand(responses(), "responses: no text in the end")
demand(client.completions.create(model=MODEL, prompt="one", max_tokens=5).choices[0].text, "completions: no text")
made = client.embeddings.create(model=MODEL, input=["one text", "and another"])
demand(len(made.data) == 2 and len(made.data[0].embedding) == 8, "embeddings: not what was made")
demand(MODEL in [entry.id for entry in client.models.list()], "models: the model is not in the list")
demand(client.models.retrieve(MODEL).id == MODEL, "models: another one was found")
