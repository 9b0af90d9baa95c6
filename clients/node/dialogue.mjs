// What the programs share: what the command says to them, and a sum of the tools that are called.

import { readFileSync } from "node:fs";

export const { model, prompt, turns, base_url: baseUrl } = JSON.parse(readFileSync("asked.json"));

// More than the turns that are wanted: a client that goes on for longer is in a loop.
export const bound = turns + 5;

export const schema = {
  type: "object",
  properties: { a: { type: "integer" }, b: { type: "integer" } },
  required: ["a", "b"],
  additionalProperties: false,
};

export const add = ({ a, b }) => String(a + b);

export function demand(isTrue, sentence) {
  if (!isTrue) throw new Error(sentence);
}
