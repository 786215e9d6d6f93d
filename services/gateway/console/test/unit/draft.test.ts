import assert from "node:assert/strict";
import { test } from "node:test";
import { controlOf, durationSeconds, EMPTY, envOf, message, request } from "../../src/draft.js";

const good = { ...EMPTY, account: "vision", command: "python train.py" };

test("a draft becomes the request it describes", () => {
  const made = request({ ...good, name: "a", replicas: "4", gpus: "0.5", cpu: "2.5", memory: "1.5", devices: "rdma/hca=1, nvidia.com/mig-1g.5gb=2", model: "A100", priority: "-5", duration: "1h 30m", env: "A=b=c\n# no\n\nD=" });
  assert.ok("init" in made);
  const { parent, jobId, job } = message(made.init);
  const role = job?.spec?.roles[0];
  assert.equal(parent, "accounts/vision");
  assert.equal(jobId, "a");
  assert.deepEqual(role?.command, ["/bin/sh", "-c", "python train.py"]);
  assert.deepEqual([role?.replicas, role?.resources?.gpuMillis, role?.resources?.cpuMillis, role?.resources?.memoryBytes], [4, 500n, 2500n, 1_610_612_736n]);
  assert.deepEqual(role?.resources?.devices, { "rdma/hca": 1n, "nvidia.com/mig-1g.5gb": 2n });
  assert.deepEqual(role?.env.map(({ name, value }) => [name, value]), [["A", "b=c"], ["D", ""]]);
  assert.equal(job?.spec?.priority, -5);
  assert.equal(job?.spec?.expectedDuration?.seconds, 5400n);
});

test("what cannot be sent is told at its control, and the server judges the rest", () => {
  const flawed = request({ ...good, command: " ", gpus: "two", replicas: "1.5", duration: "soon", env: "novalue", devices: "rdma/hca" });
  assert.ok("flaws" in flawed);
  assert.deepEqual(Object.fromEntries(flawed.flaws), { command: "missing", gpus: "notANumber", replicas: "notWhole", duration: "notADuration", env: "notEnv", devices: "notDevices" });
  for (const devices of ["rdma/hca=0", "rdma/hca=-1", "rdma/hca=1.5", "a/b=1 a/b=2", "=1"]) assert.ok("flaws" in request({ ...good, devices }), devices);
  assert.ok("init" in request({ ...good, replicas: "-1", gpus: "-3", priority: "99999" }));
  const fine = request({ ...good, replicas: "0", gpus: "0.0005", cpu: "0.1" });
  assert.ok("flaws" in fine);
  assert.deepEqual(Object.fromEntries(fine.flaws), { replicas: "none", gpus: "tooFine" });
  assert.ok("flaws" in request({ ...good, memory: "1e300" }));
});

test("durations are read as people write them", () => {
  for (const [text, seconds] of [["", 0], ["90", 5400], ["90m", 5400], ["1h30m", 5400], ["1.5h", 5400], ["2d", 172_800], ["45 s", 45]] as const) {
    assert.equal(durationSeconds(text), seconds, text);
  }
  for (const text of ["-1h", "h", "1w", "1h x"]) assert.equal(durationSeconds(text), null, text);
  assert.equal(envOf("=x"), null);
});

test("a path of the request leads to the control it was typed into", () => {
  const expected = {
    parent: "account",
    job_id: "name",
    "job.spec.roles[0].resources.gpu_millis": "gpus",
    "job.spec.roles[0].resources.memory_bytes": "memory",
    "job.spec.roles[0].resources.devices[rdma/hca]": "devices",
    "job.spec.roles[0].gpu_models[0]": "model",
    "job.spec.roles[0].command[0]": "command",
    "job.spec.roles[0].args": "command",
    "job.spec.roles[0].env[3].name": "env",
    "job.spec.roles[0].min_replicas": "replicas",
    "job.spec.expected_duration": "duration",
    "job.spec.priority": "priority",
  };
  for (const [path, control] of Object.entries(expected)) assert.equal(controlOf(path), control, path);
  assert.equal(controlOf("job.labels"), undefined);
});
