// The jobs as they are now: one WatchJobs stream, resumed from its token whenever it breaks.
import { signal } from "@preact/signals";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Job } from "./gen/crater/job/v1/resources_pb.js";
import { Ledger } from "./ledger.js";
import { expired, renew, streams } from "./session.js";
import { backoff, connection, untilWatched } from "./stream.js";

export type Link = "connecting" | "live" | "reconnecting";

/** Silence that makes a connection suspect; the server sends a bookmark when nothing happens. */
const SILENT_MS = 90_000;
/** What a stream that cannot go on from our token answers with. */
const TOKEN_REFUSED = [Code.InvalidArgument, Code.OutOfRange, Code.FailedPrecondition, Code.DataLoss, Code.NotFound];

/** By name; null until all have been sent once. */
export const jobs = signal<ReadonlyMap<string, Job> | null>(null);
export const link = signal<Link>("connecting");
/** What the last break of the stream said, for who asks why it is not live. */
export const trouble = signal("");

/** Follows the jobs of all accounts of the caller until stopped. */
export async function follow(stop: AbortSignal): Promise<void> {
  const ledger = new Ledger();
  let attempt = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  jobs.value = null;
  link.value = "connecting";
  // Many changes at once are one picture.
  const show = () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      ledger.settle();
      if (!stop.aborted) jobs.value = ledger.shown;
    }, 50);
  };
  while (!stop.aborted) {
    await untilWatched(stop);
    const wire = connection(stop, SILENT_MS);
    try {
      const request = { parent: "accounts/-", resumeToken: ledger.resumeToken };
      const onHeader = () => {
        if (!stop.aborted && jobs.value) link.value = "live";
      };
      for await (const message of streams.watchJobs(request, { signal: wire.signal, onHeader })) {
        wire.heard();
        ledger.take(message);
        show();
        attempt = 0;
        link.value = "live";
      }
    } catch (cause) {
      const { code, rawMessage } = ConnectError.from(cause);
      trouble.value = wire.signal.aborted ? "" : rawMessage;
      if (ledger.resumeToken && TOKEN_REFUSED.includes(code)) ledger.forget();
      if (expired(cause)) await renew().catch(() => undefined);
    } finally {
      wire.close();
    }
    ledger.broke();
    if (stop.aborted) break;
    link.value = "reconnecting";
    await backoff(attempt++, stop);
  }
  clearTimeout(timer);
}
