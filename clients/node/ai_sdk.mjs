// The AI SDK with the default of its provider for OpenAI, which is responses, or with Anthropic's; plain, then streamed.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { add, baseUrl, bound, demand, model, prompt, schema } from "./dialogue.mjs";

const provider = process.argv[2] === "anthropic" ? createAnthropic({ baseURL: `${baseUrl}/v1` }) : createOpenAI();
const asked = {
  model: provider(model),
  prompt,
  tools: { add: tool({ inputSchema: jsonSchema(schema), execute: async (input) => add(input) }) },
  stopWhen: stepCountIs(bound),
  maxRetries: 0,
};

demand((await generateText(asked)).text.length, "plain: no text in the end");
let failure;
const stream = streamText({ ...asked, onError: ({ error }) => { failure = error; } });
await stream.consumeStream();
if (failure) throw failure;
demand((await stream.text).length, "streamed: no text in the end");
