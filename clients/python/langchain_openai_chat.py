"""LangChain's ChatOpenAI, whose tools are called by a loop; every second turn is streamed. Then its embeddings."""

from typing import Any

from dialogue import BOUND, MODEL, PROMPT, demand
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def dialogue() -> Any:
    model = ChatOpenAI(model=MODEL, max_retries=0).bind_tools([add])
    messages: list[BaseMessage] = [HumanMessage(PROMPT)]
    for turn in range(BOUND):
        if turn % 2:
            answer: Any = None
            for chunk in model.stream(messages):
                answer = chunk if answer is None else answer + chunk
        else:
            answer = model.invoke(messages)
        if not answer.tool_calls:
            return answer.content
        messages += [answer, *(add.invoke(call) for call in answer.tool_calls)]
    raise SystemExit("chat: no end")


demand(dialogue(), "chat: no text in the end")
texts = ["one text", "and another"]
vectors = OpenAIEmbeddings(model=MODEL, check_embedding_ctx_length=False).embed_documents(texts)
demand(len(vectors) == 2, "embeddings: not what was made")
