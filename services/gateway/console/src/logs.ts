// The live log of one job. A stream that broke is resumed by time; lines.ts sees to it that no
// line comes twice.
import { ConnectError } from "@connectrpc/connect";
import type { LogLine } from "./gen/crater/job/v1/resources_pb.js";
import type { Link } from "./feed.js";
import { Place } from "./lines.js";
import { expired, renew, streams } from "./session.js";
import { backoff, connection, untilWatched } from "./stream.js";

/** So many lines of each replica to begin with, and so many in all on the page. */
export const TAIL_LINES = 2_000;
const SILENT_MS = 10 * 60_000;

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
      reader.link("reconnecting");
      if (expired(cause)) await renew().catch(() => undefined);
      else if (!wire.signal.aborted) reader.refused(ConnectError.from(cause));
    } finally {
      wire.close();
    }
    await backoff(attempt++, stop);
  }
}
