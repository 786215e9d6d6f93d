import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs, type Timestamp } from "@bufbuild/protobuf/wkt";
import { JobSchema, JobState, ServiceClass, type Job } from "../../src/gen/crater/job/v1/resources_pb.js";
import { ANY, bounds, compare, filterOf, fromQuery, halves, labelsOf, matches, merge, NEWEST, toQuery, type Wanted } from "../../src/jobfilter.js";

const NOW = Date.UTC(2026, 5, 1, 12);
const job = (id: string, state: JobState, created: number, ended?: number, priority = 0): Job =>
  create(JobSchema, {
    name: `accounts/lab/jobs/${id}`,
    state,
    createTime: timestampFromMs(created),
    ...(ended === undefined ? {} : { endTime: timestampFromMs(ended) }),
    spec: { priority },
  });
const map = (...jobs: Job[]) => new Map(jobs.map((each) => [each.name, each]));
const idsOf = (jobs: Job[]) => jobs.map((each) => each.name.slice("accounts/lab/jobs/".length));
const none: ReadonlySet<string> = new Set();

test("a filter survives the address, and the default is an empty one", () => {
  const wanted: Wanted = {
    tab: "failed", account: "lab", user: "ann", class: "best-effort", label: "a=b c", text: "train", since: "week", from: "", until: "",
    order: { by: "priority", down: false },
  };
  assert.deepEqual(fromQuery(toQuery(wanted).toString()), wanted);
  assert.equal(toQuery(ANY).toString(), "");
  assert.deepEqual(fromQuery(""), ANY);
  assert.deepEqual(fromQuery("state=nonsense&since=never&order=color&from=yesterday&class=x"), ANY, "what is not understood is left out");
});

test("days take in the last one, and hours go back from now", () => {
  const { after, before } = bounds({ ...ANY, from: "2026-03-01", until: "2026-03-01" }, NOW);
  assert.equal(new Date(after!).toDateString(), new Date(before! - 1).toDateString());
  assert.deepEqual(bounds({ ...ANY, since: "day" }, NOW), { after: NOW - 86_400_000 });
  assert.deepEqual(bounds(ANY, NOW), {});
});

test("labels are words; without a value any value fits", () => {
  assert.deepEqual(labelsOf(" a=b  c d= e=f=g"), { a: "b", c: "", d: "", e: "f=g" });
});

test("the streams of a filter: what goes on, and what ends from now on", () => {
  const { active, ended } = halves(ANY, NOW);
  assert.deepEqual(active?.states, [JobState.QUEUED, JobState.STARTING, JobState.RUNNING]);
  assert.deepEqual(ended?.states, [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]);
  assert.ok(timestampMs(ended!.endedAfter as Timestamp) <= NOW);
  assert.equal(halves({ ...ANY, tab: "failed" }, NOW).active, null);
  assert.equal(halves({ ...ANY, tab: "queued" }, NOW).ended, null);
  assert.equal(halves({ ...ANY, tab: "suspended" }, NOW).active?.suspended, true);
  assert.deepEqual(halves({ ...ANY, tab: "failed" }, NOW).ended?.states, [JobState.FAILED]);
});

test("a job fits on this side if and only if it fits on the server's", () => {
  const one = Object.assign(job("train-1", JobState.RUNNING, NOW - 3_600_000), { creator: "users/ann", labels: { team: "x" } });
  one.spec!.serviceClass = ServiceClass.BEST_EFFORT;
  const yes: Partial<Wanted>[] = [{}, { tab: "active" }, { tab: "running" }, { account: "lab" }, { user: "ann" }, { class: "best-effort" }, { label: "team" }, { label: "team=x" }, { text: "rain" }, { since: "day" }];
  const no: Partial<Wanted>[] = [{ tab: "queued" }, { tab: "suspended" }, { account: "la" }, { user: "an" }, { class: "guaranteed" }, { label: "team=y" }, { label: "tea" }, { text: "Train" }, { from: "2026-06-02" }, { until: "2026-05-01" }];
  for (const some of yes) assert.ok(matches(one, { ...ANY, ...some }, NOW), JSON.stringify(some));
  for (const some of no) assert.ok(!matches(one, { ...ANY, ...some }, NOW), JSON.stringify(some));
  assert.deepEqual(filterOf({ ...ANY, text: "x", user: "ann" }, NOW).creators, ["users/ann"]);
});

test("orders put what has not ended where the server does", () => {
  const jobs = [job("a", JobState.RUNNING, 1), job("b", JobState.SUCCEEDED, 2, 50), job("c", JobState.SUCCEEDED, 3, 40), job("d", JobState.QUEUED, 4, undefined, 7)];
  const by = (key: "create_time" | "end_time" | "priority", down: boolean) => idsOf([...jobs].sort(compare({ by: key, down }))).join("");
  assert.equal(by("create_time", true), "dcba");
  assert.equal(by("create_time", false), "abcd");
  assert.equal(by("end_time", true), "bcda");
  assert.equal(by("end_time", false), "dacb");
  assert.equal(by("priority", true)[0], "d");
});

test("one table out of pages and streams", () => {
  const [old, gone, running] = [job("old", JobState.SUCCEEDED, 10, 20), job("gone", JobState.RUNNING, 30), job("running", JobState.RUNNING, 40)];
  const ended = job("running", JobState.FAILED, 40, 60);
  const listed = [running, gone, old];
  const rows = (parts: Partial<Parameters<typeof merge>[0]>) =>
    idsOf(merge({ listed, more: false, active: null, ended: null, gone: none, ...parts }, NEWEST));
  assert.deepEqual(rows({}), ["running", "gone", "old"], "before the streams are complete, the page is all there is");
  assert.deepEqual(rows({ active: map(running), ended: map() }), ["running", "old"], "what no stream knows any more is gone");
  assert.deepEqual(rows({ active: map(), ended: map(ended) }), ["running", "old"], "what ended meanwhile stays");
  assert.deepEqual(rows({ active: map(running, job("new", JobState.QUEUED, 90)), ended: map() }), ["new", "running", "old"]);
  assert.deepEqual(rows({ active: map(running), ended: map(), gone: new Set([old.name]) }), ["running"]);
  const early = job("early", JobState.QUEUED, 5);
  assert.deepEqual(rows({ active: map(running, early), ended: map(), more: true }), ["running", "old"], "what comes after the last page waits for its page");
  assert.deepEqual(rows({ active: map(running, early), ended: map() }), ["running", "old", "early"]);
});
