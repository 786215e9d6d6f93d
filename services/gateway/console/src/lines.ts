// The lines of a log: which of them are new after a stream was resumed, and how one is shown. No IO.
import { type Timestamp, timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import type { LogLine } from "./gen/crater/job/v1/resources_pb.js";

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

/** A line as a terminal would leave it: no colour codes, and only what a progress bar drew last. */
export function plain(text: string): string {
  const bare = text.replace(/\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])/g, "").replace(/\r+$/, "");
  return bare.slice(bare.lastIndexOf("\r") + 1);
}
