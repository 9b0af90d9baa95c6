"""OpenAI's Agents SDK with its default, responses, and a function as a tool; plain, then streamed."""

import asyncio

from agents import Agent, Runner, function_tool
from dialogue import BOUND, MODEL, PROMPT, demand


@function_tool
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


agent = Agent(name="adder", instructions="Add what is asked.", model=MODEL, tools=[add])


async def main() -> None:
    plain = await Runner.run(agent, PROMPT, max_turns=BOUND)
    demand(plain.final_output, "plain: no text in the end")
    streamed = Runner.run_streamed(agent, PROMPT, max_turns=BOUND)
    async for _ in streamed.stream_events():
        pass
    demand(streamed.final_output, "streamed: no text in the end")


asyncio.run(main())
