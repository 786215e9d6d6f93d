// The live log of one job. A stream that broke is resumed by time; each replica's place is remembered, so that no line
// comes twice.
import { type Timestamp, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import type { LogLine } from "./gen/crater/job/v1/resources_pb.js";
import type { Link } from "./feed.js";
import { expired, renew, streams } from "./session.js";
import { backoff, connection, untilWatched } from "./stream.js";

/** So many lines of each replica to begin with, and so many in all on the page. */
export const TAIL_LINES = 2_000;
const SILENT_MS = 10 * 60_000;

const nanos = (time: Timestamp) => time.seconds * 1_000_000_000n + BigInt(time.nanos);

/** How far each replica has been read. */
export class Place {
  /** The newest moment seen, and how many lines were written in it. */
  private readonly seen = new Map<string, { at: bigint; time: Timestamp; lines: number }>();
  /** Lines of that moment that a resumed stream sends again. */
  private readonly again = new Map<string, number>();

  /** A stream begins: what was read may come once more. */
  resume() {
    this.again.clear();
    for (const [replica, last] of this.seen) this.again.set(replica, last.lines);
  }

  /** Whether the line is new. */
  take(line: LogLine): boolean {
    if (!line.time) return true;
    const replica = `${line.role}/${line.replica}`;
    const at = nanos(line.time);
    const last = this.seen.get(replica);
    if (last && at < last.at) return false;
    if (last && at === last.at) {
      const again = this.again.get(replica) ?? 0;
      if (again > 0) {
        this.again.set(replica, again - 1);
        return false;
      }
      last.lines++;
      return true;
    }
    this.again.delete(replica);
    this.seen.set(replica, { at, time: line.time, lines: 1 });
    return true;
  }

  /** The moment from which nothing can have been missed, once all `replicas` have been heard. */
  since(replicas: number): Timestamp | undefined {
    if (this.seen.size === 0 || this.seen.size < replicas) return undefined;
    let first: { at: bigint; time: Timestamp } | undefined;
    for (const last of this.seen.values()) if (!first || last.at < first.at) first = last;
    // "After" leaves out the moment itself, in which more lines may have been written.
    return first && timestampFromMs(Math.floor(timestampMs(first.time)) - 1);
  }
}

export interface Reader {
  lines(lines: LogLine[]): void;
  link(link: Link | "ended"): void;
  /** Why it cannot be read just now. */
  refused(cause: unknown): void;
  /** Whether the job has ended, so that the end of the stream is the end of the log. */
  over(): boolean;
}

export async function follow(name: string, replicas: number, reader: Reader, stop: AbortSignal): Promise<void> {
  const place = new Place();
  let attempt = 0;
  reader.link("connecting");
  while (!stop.aborted) {
    await untilWatched(stop);
    const wire = connection(stop, SILENT_MS);
    const over = reader.over();
    try {
      place.resume();
      const sinceTime = place.since(replicas);
      const request = { name, follow: true, ...(sinceTime ? { sinceTime } : { tailLines: TAIL_LINES }) };
      const onHeader = () => reader.link("live");
      for await (const message of streams.streamLogs(request, { signal: wire.signal, onHeader })) {
        wire.heard();
        attempt = 0;
        const fresh = message.lines.filter((line) => place.take(line));
        if (fresh.length > 0 && !stop.aborted) reader.lines(fresh);
      }
      // Asked after the job had ended and answered to the end: that was all.
      if (over) return reader.link("ended");
    } catch (cause) {
      if (stop.aborted) break;
      if (expired(cause)) await renew().catch(() => undefined);
      else if (!wire.signal.aborted) reader.refused(ConnectError.from(cause));
    } finally {
      wire.close();
    }
    if (stop.aborted) break;
    reader.link("reconnecting");
    await backoff(attempt++, stop);
  }
}

/** A line as a terminal would leave it: no colour codes, and only what a progress bar drew last. */
export function plain(text: string): string {
  const bare = text.replace(/\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])/g, "").replace(/\r+$/, "");
  return bare.slice(bare.lastIndexOf("\r") + 1);
}
