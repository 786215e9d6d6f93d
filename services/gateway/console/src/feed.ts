// Jobs as they are now: a WatchJobs stream, resumed from its token whenever it breaks.
import { signal, type ReadonlySignal } from "@preact/signals";
import { Code, ConnectError } from "@connectrpc/connect";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { JobFilterSchema } from "./gen/crater/job/v1/job_service_pb.js";
import type { Job } from "./gen/crater/job/v1/resources_pb.js";
import { Ledger } from "./ledger.js";
import { link } from "./link.js";
import { expired, renew, streams, token } from "./session.js";
import { backoff, connection, untilWatched } from "./stream.js";

/** Silence that makes a connection suspect; the server sends a bookmark when nothing happens. */
const SILENT_MS = 90_000;
/** What a stream that cannot go on from our token answers with. */
const TOKEN_REFUSED = [Code.InvalidArgument, Code.OutOfRange, Code.FailedPrecondition, Code.DataLoss, Code.NotFound];

/** What asking again does not change: a filter that is none, a job that is not there. */
const FOR_GOOD = [Code.InvalidArgument, Code.Unimplemented, Code.NotFound];

export interface Wish {
  /** "accounts/{account}" or "accounts/-". */
  parent: string;
  /** Only this job. */
  job?: string;
  filter?: MessageInitShape<typeof JobFilterSchema>;
}

/** By name; null until all have been sent once. */
export type Jobs = ReadonlyMap<string, Job> | null;

/** Follows the jobs that match until stopped, or refused for good. */
export function watch(wish: Wish, stop: AbortSignal): ReadonlySignal<Jobs> {
  const jobs = signal<Jobs>(null);
  void follow(wish, (next) => (jobs.value = next), stop);
  return jobs;
}

async function follow(wish: Wish, show: (jobs: Jobs) => void, stop: AbortSignal): Promise<void> {
  const ledger = new Ledger();
  const done = new AbortController();
  const line = link(AbortSignal.any([stop, done.signal]));
  let attempt = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  // Many changes at once are one picture.
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      ledger.settle();
      if (!stop.aborted) show(ledger.shown);
    }, 50);
  };
  while (!stop.aborted) {
    await untilWatched(stop);
    if (stop.aborted) break;
    const wire = connection(stop, SILENT_MS);
    const used = token();
    try {
      const request = { ...wish, resumeToken: ledger.resumeToken };
      const onHeader = () => ledger.shown && line.is("live");
      for await (const message of streams.watchJobs(request, { signal: wire.signal, onHeader })) {
        wire.heard();
        ledger.take(message);
        soon();
        attempt = 0;
        line.is("live");
      }
    } catch (cause) {
      const { code, rawMessage } = ConnectError.from(cause);
      line.trouble(wire.signal.aborted ? "" : rawMessage);
      if (ledger.resumeToken && TOKEN_REFUSED.includes(code)) ledger.forget();
      else if (FOR_GOOD.includes(code)) return done.abort();
      if (expired(cause)) await renew(used).catch(() => undefined);
    } finally {
      wire.close();
    }
    ledger.broke();
    if (stop.aborted) break;
    line.is("reconnecting");
    await backoff(attempt++, stop);
  }
  clearTimeout(timer);
}
