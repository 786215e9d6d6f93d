// The cluster as a map: who holds a GPU, in what condition a node is, what stands together, and what is looked for. No IO.
import type { Gpu, Node } from "./gen/crater/scheduling/v1/scheduling_service_pb.js";
import { accountOf, idOf } from "./route.js";

/** Jobs of one's own, of one's accounts, of anybody else; or nobody. */
export type Holder = "mine" | "ours" | "theirs" | "free";
export type Condition = "open" | "cordoned" | "draining" | "down";

/** Who the reader is, as far as colours go. */
export interface Eye {
  /** Names of the reader's own jobs that have not ended. */
  jobs: ReadonlySet<string>;
  /** Ids of the reader's accounts. */
  accounts: ReadonlySet<string>;
}

export function holder(gpu: Gpu, eye: Eye): Holder {
  if (gpu.heldMillis <= 0) return "free";
  if (gpu.jobs.some((job) => eye.jobs.has(job))) return "mine";
  return gpu.jobs.some((job) => eye.accounts.has(accountOf(job))) ? "ours" : "theirs";
}

export function condition(node: Node): Condition {
  if (node.draining) return "draining";
  if (node.cordoned) return "cordoned";
  return node.schedulable ? "open" : "down";
}

/** How much of a model's devices a new job could get here, in thousandths. */
export const freeMillis = (node: Node) =>
  node.schedulable
    ? Math.max(0, Number(node.allocatable?.gpuMillis ?? 0n) - Number(node.held?.gpuMillis ?? 0n) - Number(node.others?.gpuMillis ?? 0n))
    : 0;

export const GROUPS = ["model", "zone", "rack", "none"] as const;
export type GroupBy = (typeof GROUPS)[number];

export interface Seek {
  group: GroupBy;
  /** Empty means any; "-" means nodes without GPUs. */
  model: string;
  free: boolean;
  /** Nodes in a condition that keeps new replicas away. */
  closed: boolean;
  name: string;
  job: string;
  account: string;
  /** The node that is looked at closely. */
  node: string;
}

export function fromQuery(query: string): Seek {
  const get = new URLSearchParams(query);
  return {
    group: GROUPS.find((each) => each === get.get("group")) ?? "model",
    model: get.get("model") ?? "",
    free: get.has("free"),
    closed: get.has("closed"),
    name: get.get("name") ?? "",
    job: get.get("job") ?? "",
    account: get.get("account") ?? "",
    node: get.get("node") ?? "",
  };
}

export function toQuery(seek: Seek): URLSearchParams {
  const out = new URLSearchParams();
  if (seek.group !== "model") out.set("group", seek.group);
  for (const key of ["model", "name", "job", "account", "node"] as const) if (seek[key]) out.set(key, seek[key]);
  if (seek.free) out.set("free", "1");
  if (seek.closed) out.set("closed", "1");
  return out;
}

/** Whether a job is looked for; undefined where no job is. */
export function sought(seek: Seek): ((job: string) => boolean) | undefined {
  if (!seek.job && !seek.account) return undefined;
  return (job) => idOf(job).includes(seek.job) && (!seek.account || accountOf(job) === seek.account);
}

export function fits(node: Node, seek: Seek): boolean {
  const job = sought(seek);
  return (
    (!seek.model || (seek.model === "-" ? node.gpus.length === 0 : node.gpuModel === seek.model)) &&
    (!seek.free || freeMillis(node) > 0) &&
    (!seek.closed || condition(node) !== "open") &&
    node.name.includes(seek.name) &&
    (!job || node.gpus.some((gpu) => gpu.jobs.some(job)))
  );
}

/** A label by the last word of its key: "topology.kubernetes.io/zone" is the zone. */
export function where(node: Node, word: string): string {
  for (const [key, value] of Object.entries(node.topology)) {
    const last = key.slice(key.lastIndexOf("/") + 1).toLowerCase();
    if (last === word || last.endsWith(`-${word}`) || last.endsWith(`.${word}`)) return value;
  }
  return "";
}

export interface Group {
  /** Empty for what has none. */
  key: string;
  nodes: Node[];
}

/** Models by how many GPUs there are, places by name, what has none last; nodes in the order given. */
export function grouped(nodes: Iterable<Node>, by: GroupBy): Group[] {
  const out = new Map<string, Node[]>();
  for (const node of nodes) {
    const key = by === "none" ? "" : by === "model" ? node.gpuModel : where(node, by);
    const group = out.get(key);
    if (group) group.push(node);
    else out.set(key, [node]);
  }
  const size = (list: Node[]) => list.reduce((sum, node) => sum + node.gpus.length, 0);
  const order = ([a, left]: [string, Node[]], [b, right]: [string, Node[]]) =>
    (a === "" ? 1 : 0) - (b === "" ? 1 : 0) || (by === "model" ? size(right) - size(left) : 0) || a.localeCompare(b, "en", { numeric: true });
  return [...out].sort(order).map(([key, list]) => ({ key, nodes: list }));
}
