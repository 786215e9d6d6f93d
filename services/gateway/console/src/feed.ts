// The jobs as they are now: one WatchJobs stream, resumed from its token whenever it breaks.
import { signal } from "@preact/signals";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Job } from "./gen/crater/job/v1/resources_pb.js";
import type { WatchJobsResponse } from "./gen/crater/job/v1/job_service_pb.js";
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

/** What the messages of a stream add up to. Apart from the stream, so that its laws can be tested. */
export class Ledger {
  /** What is shown; replaced, never changed. */
  shown: ReadonlyMap<string, Job> | null = null;
  resumeToken = "";
  /** A snapshot under way: shown only when it is whole. */
  private staging: Map<string, Job> | null = new Map();
  private pending: Map<string, Job | null> = new Map();

  take(message: WatchJobsResponse) {
    const { event } = message;
    if (event.case === "changed") this.set(event.value.name, event.value);
    else if (event.case === "deleted") this.set(event.value, null);
    else if (event.case === "resync") this.begin();
    else if (event.case === "bookmark" && this.staging) {
      this.shown = this.staging;
      this.staging = null;
    }
    // Without a token, only a new beginning is sure to miss nothing.
    if (message.resumeToken || event.case === "resync") this.resumeToken = message.resumeToken;
  }

  /** The stream broke. A snapshot that was cut off and cannot be resumed begins anew. */
  broke() {
    if (!this.resumeToken) this.begin();
  }

  /** The server does not know our token any more. */
  forget() {
    this.resumeToken = "";
    this.begin();
  }

  /** Brings `shown` up to date. */
  settle() {
    if (this.shown && this.pending.size > 0) {
      const next = new Map(this.shown);
      for (const [name, job] of this.pending) {
        if (job) next.set(name, job);
        else next.delete(name);
      }
      this.shown = next;
    }
    this.pending.clear();
  }

  private begin() {
    this.staging = new Map();
    this.pending.clear();
  }

  private set(name: string, job: Job | null) {
    if (!this.staging) this.pending.set(name, job);
    else if (job) this.staging.set(name, job);
    else this.staging.delete(name);
  }
}

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
