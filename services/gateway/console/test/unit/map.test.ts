import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { NodeSchema, WatchClusterResponse_CountsSchema, WatchClusterResponse_SnapshotStartSchema, WatchClusterResponseSchema, type Node, type WatchClusterResponse } from "../../src/gen/crater/scheduling/v1/scheduling_service_pb.js";
import { condition, fits, freeMillis, fromQuery, grouped, holder, toQuery, where, type Eye } from "../../src/map.js";
import { Picture, totals } from "../../src/picture.js";

const MINE = "accounts/lab/jobs/mine";
const OURS = "accounts/lab/jobs/ours";
const eye: Eye = { jobs: new Set([MINE]), accounts: new Set(["lab"]) };
const node = (name: string, held: [number, ...string[]][] = [], more: Partial<Node> = {}): Node =>
  create(NodeSchema, {
    name,
    schedulable: true,
    gpuModel: held.length > 0 ? "A100" : "",
    allocatable: { gpuMillis: BigInt(held.length * 1000) },
    held: { gpuMillis: BigInt(held.reduce((sum, [millis]) => sum + millis, 0)) },
    gpus: held.map(([heldMillis, ...jobs], index) => ({ index, heldMillis, jobs })),
    ...more,
  } as never);
const seek = (query: string) => fromQuery(query);

test("a device belongs to me if any of its jobs is mine, to us by account, else to others", () => {
  const [a, b, c, d, e] = node("n", [[1000, MINE], [1000, OURS, MINE], [500, OURS], [500, "accounts/x/jobs/y"], [0]]).gpus;
  assert.deepEqual([a, b, c, d, e].map((gpu) => holder(gpu!, eye)), ["mine", "mine", "ours", "theirs", "free"]);
});

test("draining says more than cordoned, and cordoned more than not schedulable", () => {
  const of = (more: Partial<Node>) => condition(node("n", [], more));
  assert.equal(of({}), "open");
  assert.equal(of({ schedulable: false }), "down");
  assert.equal(of({ schedulable: false, cordoned: true }), "cordoned");
  assert.equal(of({ schedulable: false, cordoned: true, draining: true }), "draining");
});

test("a closed node has nothing free", () => {
  assert.equal(freeMillis(node("n", [[250], [0]])), 1750);
  assert.equal(freeMillis(node("n", [[250], [0]], { schedulable: false })), 0);
});

test("filters", () => {
  const one = node("gpu-1", [[1000, OURS], [1000]]);
  const yes = ["", "model=A100", "name=pu-", "job=our", "account=lab", "job=our&account=lab"];
  const no = ["model=H100", "model=-", "free=1", "closed=1", "name=cpu", "job=mine", "account=x", "job=our&account=x"];
  for (const query of yes) assert.ok(fits(one, seek(query)), query);
  for (const query of no) assert.ok(!fits(one, seek(query)), query);
  assert.ok(fits(node("cpu-1"), seek("model=-")));
  const all = "group=rack&model=A100&name=a&job=b&account=c&node=d&free=1&closed=1";
  assert.equal(toQuery(seek(all)).toString(), new URLSearchParams(all).toString());
});

test("a place is found by the last word of its label", () => {
  const at = (key: string) => where(node("n", [], { topology: { [key]: "x" } }), "rack");
  assert.deepEqual(["rack", "crater.io/rack", "lab/row-rack", "trackrack", "rack/other"].map(at), ["x", "x", "x", "", ""]);
});

test("groups: models by size, places by name, nowhere last", () => {
  const place = (name: string, rack: string) => node(name, [[0]], rack ? { topology: { rack } } : {});
  const keys = grouped([place("a", "r10"), place("b", ""), place("c", "r2")], "rack").map(({ key }) => key);
  assert.deepEqual(keys, ["r2", "r10", ""]);
  const models = grouped([node("a", [[0]], { gpuModel: "small" }), node("b", [[0], [0]], { gpuModel: "zoo" }), node("c")], "model");
  assert.deepEqual(models.map(({ key }) => key), ["zoo", "small", ""]);
  assert.equal(grouped([node("a"), node("b")], "none").length, 1);
});

test("a picture is whole before it is shown, and a new snapshot replaces it at once", () => {
  const say = (event: WatchClusterResponse["event"]) => create(WatchClusterResponseSchema, { event });
  const start = say({ case: "snapshotStart", value: create(WatchClusterResponse_SnapshotStartSchema) });
  const counts = (waitingJobs: number) => say({ case: "counts", value: create(WatchClusterResponse_CountsSchema, { waitingJobs }) });
  const is = (name: string) => say({ case: "node", value: node(name) });
  const picture = new Picture();
  assert.equal(picture.take(start), false);
  assert.equal(picture.take(is("n10")), false);
  assert.equal(picture.take(is("n9")), false);
  assert.equal(picture.take(counts(3)), true);
  assert.deepEqual([[...picture.settle().nodes.keys()], picture.shown?.waitingJobs], [["n9", "n10"], 3]);
  picture.take(say({ case: "deleted", value: "n9" }));
  assert.deepEqual([...picture.settle().nodes.keys()], ["n10"]);
  assert.equal(picture.take(start), false);
  picture.take(is("n11"));
  picture.take(counts(0));
  assert.deepEqual([...picture.settle().nodes.keys()], ["n11"]);
});

test("totals: what is free counts on open nodes alone", () => {
  const [row] = totals([node("a", [[1000, OURS], [0]]), node("b", [[0], [0]], { schedulable: false })]);
  assert.deepEqual(row, { model: "A100", free: 1000, ours: 1000, held: 1000, total: 4000 });
});
