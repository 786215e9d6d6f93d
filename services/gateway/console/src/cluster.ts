// The cluster's nodes as they are now: one WatchCluster stream while somebody looks. A scheduler that cannot stream yet is
// asked every few seconds instead.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Code, ConnectError } from "@connectrpc/connect";
import { link } from "./link.js";
import { Picture, type Cluster } from "./picture.js";
import { clusterStreams, expired, renew, scheduling, token } from "./session.js";
import { backoff, connection, pause, untilWatched } from "./stream.js";

const EVERY_MS = 4_000;
/** The server sends its counts at least every ten seconds. */
const SILENT_MS = 35_000;
/** A view that follows the last one by this much takes up its stream. */
const LINGER_MS = 4_000;
/** Many changes at once are one picture. */
const FRAME_MS = 80;

/** What is known; null until all of it came once. */
export const cluster = signal<Cluster | null>(null);

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
    const used = token();
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
      if (expired(cause)) await renew(used).catch(() => undefined);
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
