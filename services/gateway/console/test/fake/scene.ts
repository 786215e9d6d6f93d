// A lab on a working day, for the eye: a cluster, jobs in every state, and one that goes on while you look.
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { JobSchema, JobState, ServiceClass, UsageSpanSchema, type Job } from "../../src/gen/crater/job/v1/resources_pb.js";
import { type Node, NodeSchema } from "../../src/gen/crater/scheduling/v1/scheduling_service_pb.js";
import { MemberRole, UserState } from "../../src/gen/crater/user/v1/resources_pb.js";
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

/** What is held of each GPU in thousandths, and by which jobs. */
type Held = [millis: number, ...jobs: string[]];

export function node(name: string, gpuModel: string, held: Held[], more: Partial<Node> = {}): Node {
  return create(NodeSchema, {
    name,
    gpuModel,
    schedulable: true,
    allocatable: { gpuMillis: BigInt(held.length * 1000), cpuMillis: 96_000n, memoryBytes: 512n * 1024n ** 3n },
    held: {
      gpuMillis: BigInt(held.reduce((sum, [millis]) => sum + millis, 0)),
      cpuMillis: BigInt(held.filter(([millis]) => millis > 0).length * 8000),
      memoryBytes: BigInt(held.filter(([millis]) => millis > 0).length) * 48n * 1024n ** 3n,
    },
    gpus: held.map(([heldMillis, ...jobs], index) => ({ index, heldMillis, jobs })),
    ...more,
  } as MessageInitShape<typeof NodeSchema>);
}

const place = (zone: string, rack: string) => ({ "topology.kubernetes.io/zone": zone, "crater.io/rack": rack });

export function cluster(mesh: Mesh) {
  const mine: Held = [1000, "accounts/vision/jobs/resnet-ddp"];
  const share: Held = [500, "accounts/vision/jobs/label-cleaning"];
  const ours: Held = [1000, "accounts/speech/jobs/tts-finetune"];
  const [theirs, free, part]: Held[] = [[1000], [0], [250]];
  const row = (...cells: [Held, number][]) => cells.flatMap(([cell, count]) => Array.from({ length: count }, () => cell));
  mesh.cluster.waitingJobs = 3;
  mesh.cluster.runningJobs = 9;
  mesh.cluster.put(
    node("gpu-a-01", "A100", row([mine, 8]), { topology: place("hall-1", "r01") }),
    node("gpu-a-02", "A100", row([mine, 2], [theirs!, 2], [free!, 2], [share, 1], [free!, 1]), { topology: place("hall-1", "r01") }),
    node("gpu-a-03", "A100", row([free!, 8]), { topology: place("hall-1", "r02"), cordoned: true, schedulable: false, message: "fans are being changed" }),
    node("gpu-a-04", "A100", row([theirs!, 6], [free!, 2]), { topology: place("hall-1", "r02") }),
    node("gpu-h-01", "H100", row([theirs!, 8]), { topology: place("hall-2", "r11") }),
    node("gpu-h-02", "H100", row([ours, 2], [free!, 6]), { topology: place("hall-2", "r11") }),
    node("gpu-h-03", "H100", row([theirs!, 3], [free!, 5]), { topology: place("hall-2", "r12"), cordoned: true, draining: true, schedulable: false, message: "new firmware" }),
    node("gpu-h-04", "H100", row([theirs!, 4], [free!, 4]), { topology: place("hall-2", "r12"), schedulable: false, message: "kubelet stopped posting its status" }),
    node("gpu-t-01", "T4", row([part!, 1], [free!, 2], [theirs!, 1]), { topology: place("hall-1", "r03") }),
    node("cpu-01", "", [], { topology: place("hall-1", "r03") }),
  );
}

/** [model, GPUs a node, nodes]: the mix of the public trace "openb", 1,523 nodes and 6,212 GPUs. */
const OPENB: [string, number, number][] = [
  ["G2", 8, 549], ["T4", 2, 387], ["T4", 4, 17], ["P100", 2, 131], ["P100", 1, 3], ["G3", 8, 39], ["V100M32", 8, 21], ["V100M32", 4, 9],
  ["V100M16", 4, 28], ["V100M16", 8, 8], ["V100M16", 1, 19], ["A10", 1, 2], ["", 0, 310],
];

/** A whole data centre: what is held follows from the position, so that every run paints the same. */
export function grand(mesh: Mesh) {
  let at = 0;
  let seed = 7;
  const dice = () => (seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648) / 2_147_483_648;
  for (const [model, gpus, count] of OPENB) {
    for (let n = 0; n < count; n++, at++) {
      const held = Array.from({ length: gpus }, (): Held => {
        const roll = dice();
        if (roll < 0.12) return [1000, "accounts/vision/jobs/resnet-ddp"];
        if (roll < 0.22) return [1000, "accounts/speech/jobs/tts-finetune"];
        if (roll < 0.62) return [1000];
        return roll < 0.72 ? [Math.round(dice() * 9) * 100 + 50] : [0];
      });
      const closed = at % 97 === 0;
      mesh.cluster.put(
        node(`node-${String(at).padStart(4, "0")}`, model, held, {
          topology: place(`hall-${1 + (at % 4)}`, `r${String(Math.floor(at / 16)).padStart(2, "0")}`),
          ...(closed ? { cordoned: true, schedulable: false, message: "in repair" } : {}),
        }),
      );
    }
  }
  mesh.cluster.waitingJobs = 612;
  mesh.cluster.runningJobs = 3_904;
}

/** People and limits of a lab. */
export function staff(mesh: Mesh) {
  const { people, quotas } = mesh;
  for (const [id, name] of [["bo-chen", "Bo Chen"], ["mira", "Mira Okafor"], ["lin", "林晓"], ["jonas", "Jonas Weber"]] as const) people.user(id, name);
  people.user("robot-ci", "Nightly robot");
  people.user("root", "Ada Admin", mesh.password, true).lastLoginTime = timestampFromMs(Date.now() - 90 * MINUTE);
  people.users.get("users/jonas")!.state = UserState.SUSPENDED;
  people.account("ai", "AI institute");
  for (const id of ["vision", "speech"]) people.accounts.get(`accounts/${id}`)!.parent = "accounts/ai";
  people.account("vision-robots", "Robots that see", "accounts/vision");
  people.account("biology", "Biology");
  for (const id of ["mira", "lin", "robot-ci"]) people.join(id, "vision");
  people.join("root", "ai", MemberRole.MANAGER);
  people.join("bo-chen", "speech", MemberRole.MANAGER);
  people.join("mira", "speech");
  people.join("jonas", "biology", MemberRole.MANAGER);
  const [k, gib] = [1000, 1024 ** 3];
  quotas.set("accounts/ai/quota", [["gpu", 48 * k, 96 * k, 41.5 * k, 3 * k], ["cpu", 1024 * k, undefined, 410 * k, 24 * k]], 3);
  quotas.set(
    "accounts/vision/quota",
    [["gpu/A100", 16 * k, 32 * k, 21 * k, 0.5 * k], ["gpu/T4", undefined, 8 * k, 0, 1.25 * k], ["cpu", 256 * k, 512 * k, 180 * k, 12 * k], ["memory", 1024 * gib, 4096 * gib, 1400 * gib, 64 * gib], ["jobs.running", undefined, 40, 12, 2], ["jobs.waiting", undefined, 500, 3, 0]],
    2,
  );
  quotas.set("accounts/speech/quota", [["gpu/H100", 16 * k, 16 * k, 16 * k, 0], ["cpu", 128 * k, 256 * k, 64 * k, 0], ["jobs.running", undefined, 20, 4, 0]]);
  quotas.set("accounts/vision-robots/quota", [["gpu/A100", 4 * k, 8 * k, 2 * k, 0]]);
  quotas.set("accounts/vision/users/mira/quota", [["gpu/A100", undefined, 8 * k, 8 * k, 0]]);
  quotas.set("accounts/vision/users/lin/quota", [["gpu/A100", 2 * k, 4 * k, 1 * k, 0], ["jobs.waiting", undefined, 20, 2, 0]]);
}

/** What a job used: two starts, the first one preempted. */
export function usage(mesh: Mesh, name: string, nodes: string[]) {
  const from = Date.now() - 182 * MINUTE;
  const span = (attempt: number, start: number, end: number | undefined, replicas: number, outcome: string) =>
    create(UsageSpanSchema, {
      attempt,
      startTime: timestampFromMs(from + start * MINUTE),
      ...(end === undefined ? {} : { endTime: timestampFromMs(from + end * MINUTE) }),
      replicas,
      resources: { gpuMillis: BigInt(replicas * 4000), cpuMillis: BigInt(replicas * 8000), memoryBytes: BigInt(replicas) * 64n * 1024n ** 3n },
      nodes,
      outcome,
    });
  mesh.jobs.usage.set(name, [span(1, 0, 55, 2, "Preempted"), span(2, 62, 100, 1, "Resized"), span(2, 100, undefined, 2, "")]);
}

export function lab(mesh: Mesh) {
  cluster(mesh);
  staff(mesh);
  const { QUEUED, STARTING, RUNNING, SUCCEEDED, FAILED, CANCELLED } = JobState;
  const rows: Sketch[] = [
    { name: "accounts/vision/jobs/resnet-ddp", state: RUNNING, gpus: 4, replicas: 2, ageMinutes: 195, ranMinutes: 182, nodes: ["gpu-a-01", "gpu-a-02"] },
    { name: "accounts/vision/jobs/vit-large-pretrain", state: QUEUED, gpus: 8, replicas: 4, ageMinutes: 47, reason: "NotEnoughGpus", message: "needs 32 A100 at once, 12 are free; the best fit is 20 short. resnet-ddp is expected to give back 8 at about 01:20" },
    { name: "accounts/speech/jobs/whisper-sweep-7", state: QUEUED, gpus: 2, ageMinutes: 12, creator: "bo-chen", reason: "AccountLimit", message: "account speech holds 14 of its limit of 16 H100 and this job needs 4" },
    { name: "accounts/speech/jobs/tts-finetune", state: STARTING, gpus: 1, ageMinutes: 3, creator: "mira", nodes: ["gpu-h-02"], message: "pulling the image" },
    { name: "accounts/vision/jobs/label-cleaning", state: RUNNING, gpus: 0.5, bestEffort: true, ageMinutes: 65, ranMinutes: 63, nodes: ["gpu-a-02"] },
    { name: "accounts/vision/jobs/eval-nightly", state: SUCCEEDED, gpus: 1, ageMinutes: 610, ranMinutes: 38, bestEffort: true, creator: "robot-ci" },
    { name: "accounts/vision/jobs/sam-ablation-12", state: FAILED, gpus: 2, ageMinutes: 820, ranMinutes: 11, creator: "lin", exitCode: 137, reason: "OutOfMemory", message: "replica worker-0 was killed: it used more memory than its 64 GiB" },
    { name: "accounts/speech/jobs/asr-baseline", state: CANCELLED, gpus: 4, ageMinutes: 2900, ranMinutes: 40, creator: "mira" },
    { name: "accounts/speech/jobs/codec-24khz", state: SUCCEEDED, gpus: 8, ageMinutes: 4300, ranMinutes: 1500, creator: "bo-chen" },
  ];
  for (const row of rows) {
    mesh.jobs.put(job(row));
    mesh.jobs.happened(row.name, "Submitted", `by ${row.creator ?? "alice"}`);
    if (row.ranMinutes !== undefined) mesh.jobs.happened(row.name, "Allocated", `${row.replicas ?? 1} replicas on ${row.nodes?.join(", ") ?? "gpu-h-01"}`);
  }
  const live = "accounts/vision/jobs/resnet-ddp";
  usage(mesh, live, ["gpu-a-01", "gpu-a-02"]);
  mesh.jobs.change(live, (each) => Object.assign(each, { attempts: 2, preemptions: 1, labels: { project: "imagenet", stage: "train" } }));
  mesh.jobs.change("accounts/vision/jobs/vit-large-pretrain", (each) => each.spec && (each.spec.priority = 50));
  mesh.jobs.gaps.set(live, "the first 1,204 lines were cut by the size limit of the log store");
  for (let line = 0; line < 20; line++) mesh.jobs.write(live, `step ${line * 10}  loss ${(6.9 - line / 50).toFixed(4)}`, line % 2, timestampFromMs(Date.now() - 180 * MINUTE + line * 1000), 1);
  mesh.jobs.happened(live, "Running", "all 2 replicas run");
  for (let step = 0; step < 60; step++) {
    mesh.jobs.write(live, `step ${7000 + step * 10}  loss ${(2.4 - step / 100).toFixed(4)}  lr 3.0e-04  1312 img/s`, step % 2);
  }
  return live;
}
