// What a stream of the cluster adds up to, and what there is in all. No IO.
import type { Node, WatchClusterResponse } from "./gen/crater/scheduling/v1/scheduling_service_pb.js";

export interface Cluster {
  /** By name, in the order of names. */
  nodes: ReadonlyMap<string, Node>;
  waitingJobs: number;
  runningJobs: number;
}

/** What the messages of the stream add up to. No IO. */
export class Picture {
  shown: Cluster | null = null;
  private nodes = new Map<string, Node>();
  private staging: Map<string, Node> | null = new Map();
  private counts = { waitingJobs: 0, runningJobs: 0 };

  /** Whether there is something new to show. */
  take({ event }: WatchClusterResponse): boolean {
    const into = this.staging ?? this.nodes;
    if (event.case === "snapshotStart") this.staging = new Map();
    else if (event.case === "node") into.set(event.value.name, event.value);
    else if (event.case === "deleted") into.delete(event.value);
    else if (event.case === "counts") {
      this.counts = { waitingJobs: event.value.waitingJobs, runningJobs: event.value.runningJobs };
      if (this.staging) this.nodes = this.staging;
      this.staging = null;
    }
    return this.staging === null;
  }

  settle(): Cluster {
    const names = [...this.nodes.keys()].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    return (this.shown = { nodes: new Map(names.map((name) => [name, this.nodes.get(name)!])), ...this.counts });
  }
}

export interface ModelTotal {
  model: string;
  /** What a new job could get, in thousandths: nothing on nodes that take no new replicas. */
  free: number;
  /** What jobs of the reader's accounts hold of whole devices, in thousandths. */
  ours: number;
  /** What is held by anybody. */
  held: number;
  total: number;
}

/** What there is of each GPU model, by name. */
export function totals(nodes: Iterable<Node>): ModelTotal[] {
  const byModel = new Map<string, ModelTotal>();
  for (const node of nodes) {
    const total = Number(node.allocatable?.gpuMillis ?? 0n);
    if (total === 0) continue;
    const row = byModel.get(node.gpuModel) ?? { model: node.gpuModel, free: 0, ours: 0, held: 0, total: 0 };
    const held = Number(node.held?.gpuMillis ?? 0n) + Number(node.others?.gpuMillis ?? 0n);
    row.total += total;
    row.held += held;
    row.free += node.schedulable ? Math.max(0, total - held) : 0;
    for (const gpu of node.gpus) if (gpu.jobs.length > 0) row.ours += gpu.heldMillis;
    byModel.set(node.gpuModel, row);
  }
  return [...byModel.values()].sort((a, b) => b.total - a.total || a.model.localeCompare(b.model));
}

/** The names under which nodes offer devices other than GPUs. */
export function deviceNames(nodes: Iterable<Node>): string[] {
  const names = new Set<string>();
  for (const node of nodes) for (const name of Object.keys(node.allocatable?.devices ?? {})) names.add(name);
  return [...names].sort((a, b) => a.localeCompare(b));
}
