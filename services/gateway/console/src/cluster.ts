// The cluster's nodes, asked for every few seconds while somebody looks.
import { signal } from "@preact/signals";
import type { GetClusterResponse } from "./gen/crater/scheduling/v1/scheduling_service_pb.js";
import { scheduling } from "./session.js";
import { backoff, untilWatched } from "./stream.js";

const EVERY_MS = 3_000;

export const cluster = signal<GetClusterResponse | null>(null);
/** Whether the last answer is missing, so that what is shown is old. */
export const stale = signal(false);

export async function follow(stop: AbortSignal): Promise<void> {
  let attempt = 0;
  while (!stop.aborted) {
    await untilWatched(stop);
    try {
      cluster.value = await scheduling.getCluster({}, { signal: stop });
      stale.value = false;
      attempt = 0;
      await pause(EVERY_MS, stop);
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
