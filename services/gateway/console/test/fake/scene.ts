// A lab on a working day, for the eye: a cluster, jobs in every state, and one that goes on while you look.
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { JobSchema, JobState, ServiceClass, type Job } from "../../src/gen/crater/job/v1/resources_pb.js";
import { GetClusterResponseSchema } from "../../src/gen/crater/scheduling/v1/scheduling_service_pb.js";
import type { Mesh } from "./mesh.js";

const MINUTE = 60_000;

interface Sketch {
  name: string;
  state: JobState;
  gpus?: number;
  replicas?: number;
  bestEffort?: boolean;
  creator?: string;
  ageMinutes?: number;
  ranMinutes?: number;
  reason?: string;
  message?: string;
  command?: string;
  nodes?: string[];
  exitCode?: number;
}

export function job(sketch: Sketch, now = Date.now()): Job {
  const replicas = sketch.replicas ?? 1;
  const created = now - (sketch.ageMinutes ?? 0) * MINUTE;
  const over = sketch.state >= JobState.SUCCEEDED;
  const started = sketch.ranMinutes === undefined ? undefined : over ? created + 4 * MINUTE : now - sketch.ranMinutes * MINUTE;
  const counts = {
    waiting: sketch.state === JobState.QUEUED ? replicas : 0,
    starting: sketch.state === JobState.STARTING ? replicas : 0,
    running: sketch.state === JobState.RUNNING ? replicas : 0,
    succeeded: sketch.state === JobState.SUCCEEDED ? replicas : 0,
    failed: sketch.state === JobState.FAILED ? replicas : 0,
  };
  return create(JobSchema, {
    name: sketch.name,
    uid: crypto.randomUUID(),
    creator: `users/${sketch.creator ?? "alice"}`,
    state: sketch.state,
    reason: sketch.reason ?? "",
    message: sketch.message ?? "",
    attempts: started === undefined ? 0 : 1,
    nodes: sketch.nodes ?? [],
    createTime: timestampFromMs(created),
    queueTime: timestampFromMs(created),
    ...(started === undefined ? {} : { startTime: timestampFromMs(started) }),
    ...(over ? { endTime: timestampFromMs((started ?? created) + (sketch.ranMinutes ?? 0) * MINUTE), exitCode: sketch.exitCode ?? 0 } : {}),
    roles: [{ role: "worker", ...counts }],
    spec: {
      serviceClass: sketch.bestEffort ? ServiceClass.BEST_EFFORT : ServiceClass.GUARANTEED,
      priority: 0,
      expectedDuration: { seconds: 14_400n, nanos: 0 },
      roles: [
        {
          name: "worker",
          replicas,
          minReplicas: replicas,
          image: "registry.lab/train:2.6",
          command: ["/bin/sh", "-c", sketch.command ?? "python train.py --config configs/base.yaml"],
          gpuModels: ["A100"],
          resources: { gpuMillis: BigInt((sketch.gpus ?? 1) * 1000), cpuMillis: 8000n, memoryBytes: 64n * 1024n ** 3n },
        },
      ],
    },
  });
}

export function cluster(mesh: Mesh) {
  const gpu = (index: number, heldMillis: number, jobs: string[] = []) => ({ index, heldMillis, jobs });
  const node = (name: string, gpuModel: string, held: number[], mine: number[] = [], schedulable = true) => ({
    name,
    gpuModel,
    schedulable,
    message: schedulable ? "" : "cordoned by an admin",
    allocatable: { gpuMillis: BigInt(held.length * 1000), cpuMillis: 96_000n, memoryBytes: 512n * 1024n ** 3n },
    held: { gpuMillis: BigInt(held.reduce((sum, each) => sum + each, 0)) },
    gpus: held.map((each, index) => gpu(index, each, mine.includes(index) ? ["accounts/vision/jobs/resnet-ddp"] : [])),
  });
  mesh.cluster = create(GetClusterResponseSchema, {
    waitingJobs: 3,
    runningJobs: 9,
    nodes: [
      node("gpu-a-01", "A100", [1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000], [0, 1, 2, 3, 4, 5, 6, 7]),
      node("gpu-a-02", "A100", [1000, 1000, 1000, 1000, 0, 0, 500, 0], [0, 1]),
      node("gpu-a-03", "A100", [0, 0, 0, 0, 0, 0, 0, 0], [], false),
      node("gpu-h-01", "H100", [1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000]),
      node("gpu-h-02", "H100", [1000, 1000, 0, 0, 0, 0, 0, 0], [0]),
      node("gpu-t-01", "T4", [250, 0, 0, 1000]),
    ],
  });
}

export function lab(mesh: Mesh) {
  cluster(mesh);
  const { QUEUED, STARTING, RUNNING, SUCCEEDED, FAILED, CANCELLED } = JobState;
  const rows: Sketch[] = [
    { name: "accounts/vision/jobs/resnet-ddp", state: RUNNING, gpus: 4, replicas: 2, ageMinutes: 195, ranMinutes: 182, nodes: ["gpu-a-01", "gpu-a-02"] },
    { name: "accounts/vision/jobs/vit-large-pretrain", state: QUEUED, gpus: 8, replicas: 4, ageMinutes: 47, reason: "NotEnoughGpus", message: "needs 32 A100 at once, 12 are free; the best fit is 20 short. resnet-ddp is expected to give back 8 at about 01:20" },
    { name: "accounts/speech/jobs/whisper-sweep-7", state: QUEUED, gpus: 2, ageMinutes: 12, creator: "bo.chen", reason: "AccountLimit", message: "account speech holds 14 of its limit of 16 H100 and this job needs 4" },
    { name: "accounts/speech/jobs/tts-finetune", state: STARTING, gpus: 1, ageMinutes: 3, creator: "mira", nodes: ["gpu-h-02"], message: "pulling the image" },
    { name: "accounts/vision/jobs/label-cleaning", state: RUNNING, gpus: 0.5, bestEffort: true, ageMinutes: 65, ranMinutes: 63, nodes: ["gpu-a-02"] },
    { name: "accounts/vision/jobs/eval-nightly", state: SUCCEEDED, gpus: 1, ageMinutes: 610, ranMinutes: 38, bestEffort: true, creator: "robot-ci" },
    { name: "accounts/vision/jobs/sam-ablation-12", state: FAILED, gpus: 2, ageMinutes: 820, ranMinutes: 11, creator: "lin", exitCode: 137, reason: "OutOfMemory", message: "replica worker-0 was killed: it used more memory than its 64 GiB" },
    { name: "accounts/speech/jobs/asr-baseline", state: CANCELLED, gpus: 4, ageMinutes: 2900, ranMinutes: 40, creator: "mira" },
    { name: "accounts/speech/jobs/codec-24khz", state: SUCCEEDED, gpus: 8, ageMinutes: 4300, ranMinutes: 1500, creator: "bo.chen" },
  ];
  for (const row of rows) {
    mesh.put(job(row));
    mesh.happened(row.name, "Submitted", `by ${row.creator ?? "alice"}`);
    if (row.ranMinutes !== undefined) mesh.happened(row.name, "Allocated", `${row.replicas ?? 1} replicas on ${row.nodes?.join(", ") ?? "gpu-h-01"}`);
  }
  const live = "accounts/vision/jobs/resnet-ddp";
  mesh.happened(live, "Running", "all 2 replicas run");
  for (let step = 0; step < 60; step++) {
    mesh.write(live, `step ${7000 + step * 10}  loss ${(2.4 - step / 100).toFixed(4)}  lr 3.0e-04  1312 img/s`, step % 2);
  }
  return live;
}
