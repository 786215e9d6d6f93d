import assert from "node:assert/strict";
import { test } from "node:test";
import { en } from "../../src/i18n/en.js";
import { zh } from "../../src/i18n/zh.js";

/** Path → the number of parameters, or "text". */
function shape(words: object, path = ""): Map<string, string> {
  const out = new Map<string, string>();
  for (const [key, value] of Object.entries(words)) {
    const at = `${path}${key}`;
    if (typeof value === "string") out.set(at, value.trim() === "" ? "empty" : "text");
    else if (typeof value === "function") out.set(at, `takes ${value.length}`);
    else for (const [below, what] of shape(value, `${at}.`)) out.set(below, what);
  }
  return out;
}

test("every language says everything, and nothing more", () => {
  assert.deepEqual([...shape(zh)].sort(), [...shape(en)].sort());
  assert.ok(![...shape(en).values()].includes("empty"));
});

test("the Chinese words are Chinese, names apart", () => {
  const names = new Set(["title", "jobs.gpus", "job.devices", "job.uid"]);
  const walk = (words: object, path = ""): string[] =>
    Object.entries(words).flatMap(([key, value]) =>
      typeof value === "object" ? walk(value, `${path}${key}.`) : typeof value === "string" && !/\p{Script=Han}/u.test(value) ? [`${path}${key}`] : [],
    );
  assert.deepEqual(walk(zh).filter((path) => !names.has(path)), []);
});
