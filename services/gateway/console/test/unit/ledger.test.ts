import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { WatchJobsResponseSchema } from "../../src/gen/crater/job/v1/job_service_pb.js";
import { Ledger } from "../../src/ledger.js";

type Event = NonNullable<MessageInitShape<typeof WatchJobsResponseSchema>["event"]>;
const say = (ledger: Ledger, event: Event, resumeToken = "") =>
  ledger.take(create(WatchJobsResponseSchema, { event, resumeToken }));
const job = (name: string): Event => ({ case: "changed", value: { name } });
const bookmark: Event = { case: "bookmark", value: {} };
const shown = (ledger: Ledger) => {
  ledger.settle();
  return ledger.shown && [...ledger.shown.keys()].sort();
};

test("a snapshot is shown when it is whole, not before", () => {
  const ledger = new Ledger();
  say(ledger, job("a"));
  assert.equal(shown(ledger), null);
  say(ledger, job("b"));
  say(ledger, bookmark, "1");
  assert.deepEqual(shown(ledger), ["a", "b"]);
});

test("a snapshot that was cut off leaves nothing behind", () => {
  const ledger = new Ledger();
  say(ledger, job("gone by the second time"));
  ledger.broke();
  say(ledger, job("a"));
  say(ledger, bookmark, "1");
  assert.deepEqual(shown(ledger), ["a"]);
});

test("changes and deletions apply in their order, also across a break", () => {
  const ledger = new Ledger();
  say(ledger, job("a"));
  say(ledger, bookmark, "1");
  say(ledger, job("b"), "2");
  ledger.broke();
  assert.equal(ledger.resumeToken, "2");
  say(ledger, { case: "deleted", value: "b" }, "3");
  say(ledger, job("c"), "4");
  assert.deepEqual(shown(ledger), ["a", "c"]);
});

test("after a resync the old picture stays until the new one is whole, then nothing old is left", () => {
  const ledger = new Ledger();
  say(ledger, job("old"));
  say(ledger, bookmark, "1");
  say(ledger, { case: "resync", value: { reason: "too far behind" } });
  assert.equal(ledger.resumeToken, "");
  say(ledger, job("new"));
  assert.deepEqual(shown(ledger), ["old"]);
  say(ledger, bookmark, "9");
  assert.deepEqual(shown(ledger), ["new"]);
});

test("a token that the server forgot means a new beginning", () => {
  const ledger = new Ledger();
  say(ledger, job("old"));
  say(ledger, bookmark, "1");
  ledger.forget();
  say(ledger, job("new"));
  say(ledger, bookmark, "1");
  assert.deepEqual(shown(ledger), ["new"]);
});
