// The cluster's nodes as they are now: one WatchCluster stream while somebody looks. A scheduler that cannot stream yet is
// asked every few seconds instead.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Node, WatchClusterResponse } from "./gen/crater/scheduling/v1/scheduling_service_pb.js";
import { link } from "./link.js";
import { clusterStreams, expired, renew, scheduling } from "./session.js";
import { backoff, connection, pause, untilWatched } from "./stream.js";

const EVERY_MS = 4_000;
/** The server sends its counts at least every ten seconds. */
const SILENT_MS = 35_000;
/** A view that follows the last one by this much takes up its stream. */
const LINGER_MS = 4_000;
/** Many changes at once are one picture. */
const FRAME_MS = 80;

export interface Cluster {
  /** By name, in the order of names. */
  nodes: ReadonlyMap<string, Node>;
  waitingJobs: number;
  runningJobs: number;
}

/** What is known; null until all of it came once. */
export const cluster = signal<Cluster | null>(null);

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

let followers = 0;
let running: AbortController | null = null;
let stopping: ReturnType<typeof setTimeout> | undefined;

/** Follows the cluster for as long as the view stands. */
export function useCluster(): Cluster | null {
  useEffect(() => {
    clearTimeout(stopping);
    followers++;
    if (!running) {
      running = new AbortController();
      void follow(running.signal);
    }
    return () => {
      if (--followers === 0) stopping = setTimeout(forgetStream, LINGER_MS);
    };
  }, []);
  return cluster.value;
}

function forgetStream() {
  running?.abort();
  running = null;
}

/** With the session ends what was seen in it. */
export function leave() {
  clearTimeout(stopping);
  forgetStream();
  cluster.value = null;
}

async function follow(stop: AbortSignal): Promise<void> {
  const line = link(stop);
  let attempt = 0;
  let streams = true;
  while (!stop.aborted) {
    await untilWatched(stop);
    if (stop.aborted) break;
    try {
      const step = () => {
        attempt = 0;
        line.is("live");
      };
      if (streams) await stream(step, stop);
      else {
        await ask(stop);
        step();
        await pause(EVERY_MS, stop);
        continue;
      }
    } catch (cause) {
      const { code, rawMessage } = ConnectError.from(cause);
      if (streams && code === Code.Unimplemented) {
        streams = false;
        continue;
      }
      if (!stop.aborted) line.trouble(rawMessage);
      if (expired(cause)) await renew().catch(() => undefined);
    }
    if (stop.aborted) break;
    line.is("reconnecting");
    await backoff(attempt++, stop);
  }
}

async function stream(step: () => void, stop: AbortSignal) {
  const wire = connection(stop, SILENT_MS);
  const picture = new Picture();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const draw = () => {
    timer = undefined;
    if (!stop.aborted) cluster.value = picture.settle();
  };
  try {
    for await (const message of clusterStreams.watchCluster({}, { signal: wire.signal })) {
      wire.heard();
      step();
      // The first picture comes as soon as it is whole.
      if (!picture.take(message)) continue;
      if (picture.shown) timer ??= setTimeout(draw, FRAME_MS);
      else {
        performance.mark("cluster-known");
        draw();
      }
    }
  } finally {
    clearTimeout(timer);
    wire.close();
  }
}

async function ask(stop: AbortSignal) {
  const answer = await scheduling.getCluster({}, { signal: stop });
  const nodes = new Map(answer.nodes.map((node) => [node.name, node]));
  if (!stop.aborted) cluster.value = { nodes, waitingJobs: answer.waitingJobs, runningJobs: answer.runningJobs };
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
