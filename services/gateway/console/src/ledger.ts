// What the messages of a stream of jobs add up to, however often the stream breaks. No IO.
import type { WatchJobsResponse } from "./gen/crater/job/v1/job_service_pb.js";
import type { Job } from "./gen/crater/job/v1/resources_pb.js";

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
