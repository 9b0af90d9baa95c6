"""LlamaIndex's OpenAILike: completions of prompts, its default, and chat with tools; plain and streamed."""

from typing import Any

from dialogue import BASE_URL, BOUND, KEY, MODEL, PROMPT, demand
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

PLACE: dict[str, Any] = {
    "model": MODEL,
    "api_base": f"{BASE_URL}/v1",
    "api_key": KEY,
    "max_retries": 0,
}


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def dialogue() -> Any:
    model = OpenAILike(**PLACE, is_chat_model=True, is_function_calling_model=True)
    tools = [FunctionTool.from_defaults(add)]
    history = [ChatMessage(role="user", content=PROMPT)]
    for turn in range(BOUND):
        if turn % 2:
            answer = [*model.stream_chat_with_tools(tools, chat_history=history)][-1]
        else:
            answer = model.chat_with_tools(tools, chat_history=history)
        calls = model.get_tool_calls_from_response(answer, error_on_no_tool_call=False)
        if not calls:
            return answer.message.content
        history.append(answer.message)
        for call in calls:
            told = {"tool_call_id": call.tool_id}
            history.append(ChatMessage(role="tool", content=str(add(**call.tool_kwargs)), additional_kwargs=told))
    raise SystemExit("chat: no end")


plain = OpenAILike(**PLACE)
demand(plain.complete("one two").text, "completions: no text")
demand([*plain.stream_complete("one two")][-1].text, "completions, streamed: no text")
demand(dialogue(), "chat: no text in the end")
