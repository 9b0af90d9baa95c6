"""pydantic-ai with the default of its `openai:` models, which is responses; plain, then streamed."""

import asyncio

from dialogue import MODEL, PROMPT, demand
from pydantic_ai import Agent

agent = Agent(f"openai:{MODEL}")


@agent.tool_plain
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def streamed() -> str:
    async with agent.run_stream(PROMPT) as run:
        return await run.get_output()


demand(agent.run_sync(PROMPT).output, "plain: no text in the end")
demand(asyncio.run(streamed()), "streamed: no text in the end")
