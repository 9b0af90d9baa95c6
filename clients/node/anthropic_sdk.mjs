// The official Anthropic SDK: messages, counts of tokens and models. Every second turn is streamed.
import Anthropic from "@anthropic-ai/sdk";
import { add, bound, demand, model, prompt, schema } from "./dialogue.mjs";

const client = new Anthropic({ maxRetries: 0 });
const tools = [{ name: "add", input_schema: schema }];

async function dialogue() {
  const messages = [{ role: "user", content: prompt }];
  for (let turn = 0; turn < bound; turn += 1) {
    const asked = { model, messages, tools, max_tokens: 1000 };
    const answer = turn % 2
      ? await client.messages.stream(asked).finalMessage()
      : await client.messages.create(asked);
    const calls = answer.content.filter((part) => part.type === "tool_use");
    if (!calls.length) return answer.content[0].text;
    messages.push({ role: "assistant", content: answer.content });
    const results = calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: add(call.input) }));
    messages.push({ role: "user", content: results });
  }
  throw new Error("messages: no end");
}

demand((await dialogue()).length, "messages: no text in the end");
const counted = await client.messages.countTokens({ model, messages: [{ role: "user", content: "12345" }] });
demand(counted.input_tokens === 2, "count_tokens: another count");
const known = [];
for await (const entry of client.models.list()) known.push(entry.id);
demand(known.includes(model), "models: the model is not in the list");
demand((await client.models.retrieve(model)).display_name, "models: it has no name");
