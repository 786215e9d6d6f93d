import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { UsageSpanSchema } from "../../src/gen/crater/job/v1/resources_pb.js";
import { QuotaSchema } from "../../src/gen/crater/quota/v1/quota_service_pb.js";
import { amount, branches, isBelow, measures, modelOf, ownerOf, say, typed } from "../../src/quota.js";
import { hours, layOut } from "../../src/usage.js";

test("amounts are typed in cores, GiB, GPUs and jobs, and sent in the wire's units", () => {
  assert.equal(amount("cpu", "1.5"), 1500n);
  assert.equal(amount("gpu/A100", " 8 "), 8000n);
  assert.equal(amount("memory", "0.5"), 536_870_912n);
  assert.equal(amount("jobs.running", "20"), 20n);
  assert.equal(amount("rdma/hca", "7"), 7n);
  assert.equal(amount("rdma/hca", "0.5"), null);
  assert.equal(say("nvidia.com/mig-1g.5gb", 14n), "14");
  assert.equal(amount("cpu", ""), undefined);
  for (const bad of ["x", "1.0001", "1e30", "NaN"]) assert.equal(amount("cpu", bad), null, bad);
  assert.equal(amount("jobs.waiting", "1.5"), null);
  for (const [resource, text] of [["cpu", "0.001"], ["memory", "12"], ["gpu", "3.5"], ["jobs.waiting", "7"]] as const) {
    assert.equal(typed(resource, amount(resource, text) ?? undefined), text);
  }
  assert.equal(say("memory", 3n * 1024n ** 4n), "3 TiB");
});

test("a bar: inside the guarantee, borrowed, best effort, and what the width stands for", () => {
  const quota = create(QuotaSchema, {
    resources: [{ resource: "cpu", guaranteed: 4000n, limit: 8000n }, { resource: "gpu/A100", limit: 2000n }, { resource: "memory", guaranteed: 10n, limit: 5n }],
    usage: [{ resource: "cpu", guaranteed: 5000n, bestEffort: 1000n }, { resource: "gpu/A100", guaranteed: 3000n }, { resource: "gpu/T4", bestEffort: 500n }, { resource: "jobs.running" }],
  });
  const rows = measures(quota);
  assert.deepEqual(rows.map(({ resource }) => resource), ["gpu/A100", "gpu/T4", "cpu", "memory"], "GPUs first; what is neither limited nor used is left out");
  const [a100, t4, cpu, memory] = rows;
  assert.deepEqual([cpu?.within, cpu?.borrowed, cpu?.bestEffort, cpu?.full], [4000n, 1000n, 1000n, 8000n]);
  assert.deepEqual([a100?.within, a100?.borrowed, a100?.full], [3000n, 0n, 3000n], "without a guarantee nothing is borrowed; a lowered limit may be passed");
  assert.deepEqual([t4?.bestEffort, t4?.limit], [500n, undefined]);
  assert.equal(memory?.full, 10n);
});

test("names of quotas, and models of resources", () => {
  assert.deepEqual(ownerOf("accounts/lab/quota"), { account: "lab", user: "" });
  assert.deepEqual(ownerOf("accounts/lab/users/ann/quota"), { account: "lab", user: "ann" });
  assert.deepEqual([modelOf("gpu/A100"), modelOf("gpu"), modelOf("cpu")], ["A100", "", ""]);
});

test("a tree in reading order; who has no parent here stands at the top, and a loop does not hang", () => {
  const item = (name: string, parent = "") => ({ name, parent });
  const items = [item("z"), item("b", "a"), item("a"), item("c", "b"), item("lone", "hidden")];
  assert.deepEqual(branches(items).map(({ item: { name }, depth }) => `${depth}${name}`), ["0a", "1b", "2c", "0lone", "0z"]);
  assert.ok(isBelow("c", "a", items) && isBelow("a", "a", items) && !isBelow("a", "c", items));
  assert.equal(isBelow("x", "nobody", [item("x", "y"), item("y", "x")]), false);
});

test("usage on a line: places, heights and GPU-hours; what goes on grows", () => {
  const hour = 3_600_000;
  const span = (from: number, to: number | undefined, gpus: number) =>
    create(UsageSpanSchema, { startTime: timestampFromMs(from * hour), ...(to === undefined ? {} : { endTime: timestampFromMs(to * hour) }), resources: { gpuMillis: BigInt(gpus * 1000) } });
  const { bars, most } = layOut([span(0, 1, 8), span(2, undefined, 4)], 4 * hour);
  assert.equal(most, 8);
  assert.deepEqual(bars.map(({ left, width, height, gpuHours }) => [left, width, height, gpuHours]), [[0, 0.25, 1, 8], [0.5, 0.5, 0.5, 8]]);
  assert.deepEqual([0, 0.034, 2.25, 140.4].map(hours), ["0", "0.03", "2.3", "140"]);
});
