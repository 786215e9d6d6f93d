// The live log of one job. A stream that broke is resumed by time; lines.ts sees to it that no
// line comes twice.
import { ConnectError } from "@connectrpc/connect";
import type { LogLine } from "./gen/crater/job/v1/resources_pb.js";
import type { Link } from "./link.js";
import { Place } from "./lines.js";
import { expired, renew, streams, token } from "./session.js";
import { backoff, connection, untilWatched } from "./stream.js";

/** So many lines of each replica to begin with, and so many in all on the page. */
export const TAIL_LINES = 2_000;
const SILENT_MS = 10 * 60_000;

export interface Reader {
  /** `gap` says what is missing before the lines; empty if nothing is. */
  lines(lines: LogLine[], gap: string): void;
  link(link: Link | "ended"): void;
  /** Why it cannot be read just now. */
  refused(cause: unknown): void;
  /** Whether the job has ended, so that the end of the stream is the end of the log. */
  over(): boolean;
}

/** Which part of a job's output. */
export interface Choice {
  /** Empty for all. */
  role: string;
  /** A number in the role; undefined for all. */
  replica: number | undefined;
  /** From 1; 0 is the last one. */
  attempt: number;
}

/** `replicas` is how many the choice takes in. */
export async function follow(name: string, choice: Choice, replicas: number, reader: Reader, stop: AbortSignal): Promise<void> {
  const place = new Place();
  let attempt = 0;
  reader.link("connecting");
  while (!stop.aborted) {
    await untilWatched(stop);
    const wire = connection(stop, SILENT_MS);
    const over = reader.over();
    const used = token();
    try {
      place.resume();
      const sinceTime = place.since(replicas);
      const { role, replica, attempt: of } = choice;
      const which = { role, attempt: of, ...(replica === undefined ? {} : { replica }) };
      const request = { name, follow: true, ...which, ...(sinceTime ? { sinceTime } : { tailLines: TAIL_LINES }) };
      const onHeader = () => reader.link("live");
      for await (const message of streams.streamLogs(request, { signal: wire.signal, onHeader })) {
        wire.heard();
        attempt = 0;
        const fresh = message.lines.filter((line) => place.take(line));
        // What is missing was told already when this is a stream taken up again.
        const gap = sinceTime && fresh.length === 0 ? "" : message.gap;
        if ((fresh.length > 0 || gap) && !stop.aborted) reader.lines(fresh, gap);
      }
      // Asked after the job had ended and answered to the end: that was all.
      if (over) return reader.link("ended");
    } catch (cause) {
      if (stop.aborted) break;
      reader.link("reconnecting");
      if (expired(cause)) await renew(used).catch(() => undefined);
      else if (!wire.signal.aborted) reader.refused(ConnectError.from(cause));
    } finally {
      wire.close();
    }
    await backoff(attempt++, stop);
  }
}
