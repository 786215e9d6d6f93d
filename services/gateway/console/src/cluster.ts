// The cluster's nodes, asked for every few seconds while somebody looks, and soon after a job changed.
import { type ReadonlySignal, signal } from "@preact/signals";
import type { GetClusterResponse } from "./gen/crater/scheduling/v1/scheduling_service_pb.js";
import { jobs } from "./feed.js";
import { scheduling } from "./session.js";
import { backoff, untilWatched } from "./stream.js";

const EVERY_MS = 4_000;
const SOONEST_MS = 1_000;

export const cluster = signal<GetClusterResponse | null>(null);
/** Whether the last answer is missing, so that what is shown is old. */
export const stale = signal(false);

export async function follow(stop: AbortSignal): Promise<void> {
  let attempt = 0;
  while (!stop.aborted) {
    await untilWatched(stop);
    const seen = jobs.value;
    try {
      cluster.value = await scheduling.getCluster({}, { signal: stop });
      stale.value = false;
      attempt = 0;
      await pause(SOONEST_MS, stop);
      await change(jobs, seen, EVERY_MS - SOONEST_MS, stop);
    } catch {
      if (!stop.aborted) stale.value = true;
      await backoff(attempt++, stop);
    }
  }
  cluster.value = null;
}

export function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => (clearTimeout(timer), resolve());
    const timer = setTimeout(done, ms);
    stop.addEventListener("abort", done, { once: true });
    if (stop.aborted) done();
  });
}

/** Waits until the signal is no longer what was `seen`, at most so long. */
function change<T>(of: ReadonlySignal<T>, seen: T, ms: number, stop: AbortSignal): Promise<void> {
  const changed = new AbortController();
  const either = AbortSignal.any([stop, changed.signal]);
  const dispose = of.subscribe((value) => value !== seen && changed.abort());
  return pause(ms, either).finally(dispose);
}

export interface ModelTotal {
  model: string;
  /** What a new job could get, in thousandths: nothing on nodes that take no new replicas. */
  free: number;
  total: number;
}

/** What there is of each GPU model, by name. */
export function totals(answer: GetClusterResponse): ModelTotal[] {
  const byModel = new Map<string, ModelTotal>();
  for (const node of answer.nodes) {
    const total = Number(node.allocatable?.gpuMillis ?? 0n);
    if (total === 0) continue;
    const row = byModel.get(node.gpuModel) ?? { model: node.gpuModel, free: 0, total: 0 };
    const taken = Number(node.held?.gpuMillis ?? 0n) + Number(node.others?.gpuMillis ?? 0n);
    row.total += total;
    row.free += node.schedulable ? Math.max(0, total - taken) : 0;
    byModel.set(node.gpuModel, row);
  }
  return [...byModel.values()].sort((a, b) => a.model.localeCompare(b.model));
}
