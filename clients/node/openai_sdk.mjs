// The official OpenAI SDK: chat, responses, embeddings and models. Every second turn is streamed.
import OpenAI from "openai";
import { add, bound, demand, model, prompt, schema } from "./dialogue.mjs";

const client = new OpenAI({ maxRetries: 0 });

async function chat() {
  const messages = [{ role: "user", content: prompt }];
  const tools = [{ type: "function", function: { name: "add", parameters: schema } }];
  for (let turn = 0; turn < bound; turn += 1) {
    const asked = { model, messages, tools };
    const answer = turn % 2
      ? await client.chat.completions.stream(asked).finalChatCompletion()
      : await client.chat.completions.create(asked);
    const { message } = answer.choices[0];
    if (!message.tool_calls?.length) return message.content;
    messages.push(message);
    for (const call of message.tool_calls)
      messages.push({ role: "tool", tool_call_id: call.id, content: add(JSON.parse(call.function.arguments)) });
  }
  throw new Error("chat: no end");
}

async function responses() {
  const input = [{ role: "user", content: prompt }];
  const tools = [{ type: "function", name: "add", parameters: schema, strict: true }];
  for (let turn = 0; turn < bound; turn += 1) {
    const asked = { model, input, tools };
    const answer = turn % 2
      ? await client.responses.stream(asked).finalResponse()
      : await client.responses.create(asked);
    const calls = answer.output.filter((item) => item.type === "function_call");
    if (!calls.length) return answer.output_text;
    input.push(...answer.output);
    for (const call of calls)
      input.push({ type: "function_call_output", call_id: call.call_id, output: add(JSON.parse(call.arguments)) });
  }
  throw new Error("responses: no end");
}

demand((await chat()).length, "chat: no text in the end");
demand((await responses()).length, "responses: no text in the end");
const made = await client.embeddings.create({ model, input: ["one text", "and another"] });
demand(made.data.length === 2 && made.data[0].embedding.length === 8, "embeddings: not what was made");
const known = [];
for await (const entry of client.models.list()) known.push(entry.id);
demand(known.includes(model), "models: the model is not in the list");
demand((await client.models.retrieve(model)).id === model, "models: another one was found");
