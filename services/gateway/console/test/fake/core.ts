// What every part of the fake mesh needs: who calls, waiting for a change, and refusals as the services word them.
import { Code, ConnectError, type HandlerContext } from "@connectrpc/connect";
import { BadRequestSchema } from "../../src/gen/google/rpc/error_details_pb.js";

export interface Call {
  method: string;
  request: unknown;
}

/** Someone who waits for a change hears of it at once; a cut ends all streams, as a gateway that restarts does. */
export class Bell {
  private readonly waiters = new Set<() => void>();
  cutAt = 0;

  ring() {
    for (const waiter of this.waiters) waiter();
  }

  cut() {
    this.cutAt++;
    this.ring();
  }

  /** Whether it became ready; false when the caller went away. */
  async until(stop: AbortSignal, cut: number, ready: () => boolean): Promise<boolean> {
    while (!stop.aborted && cut === this.cutAt && !ready()) {
      await new Promise<void>((resolve) => {
        const done = () => {
          this.waiters.delete(done);
          stop.removeEventListener("abort", done);
          resolve();
        };
        this.waiters.add(done);
        stop.addEventListener("abort", done);
      });
    }
    if (cut !== this.cutAt) throw new ConnectError("the gateway is going away", Code.Unavailable);
    return !stop.aborted;
  }
}

/** Checks the token, notes the call, and says who calls ("users/{user}"). */
export type Check = (context: HandlerContext, request: unknown) => string;

export function invalid(text: string, ...fields: [string, string][]): ConnectError {
  const fieldViolations = fields.map(([field, description]) => ({ field, description }));
  return new ConnectError(text, Code.InvalidArgument, undefined, [{ desc: BadRequestSchema, value: { fieldViolations } }]);
}

export const missing = (name: string) => new ConnectError(`there is no ${name}`, Code.NotFound);

export function demandFresh(etag: string, now: string, name: string) {
  if (etag && etag !== now) throw new ConnectError(`${name} was changed meanwhile`, Code.Aborted);
}

/** The same request twice acts once: a mutation by its request_id. */
export class Once {
  private readonly done = new Map<string, unknown>();

  act<T>(requestId: string, call: () => T): T {
    if (requestId && this.done.has(requestId)) return this.done.get(requestId) as T;
    const answer = call();
    if (requestId) this.done.set(requestId, answer);
    return answer;
  }
}

/** A page of a list; tokens are positions. */
export function page<T>(all: readonly T[], size: number, token: string): { items: T[]; nextPageToken: string } {
  const from = Number(token || 0);
  const to = from + (size || 100);
  return { items: all.slice(from, to), nextPageToken: to < all.length ? String(to) : "" };
}

export const nanos = (time: { seconds: bigint; nanos: number }) => time.seconds * 1_000_000_000n + BigInt(time.nanos);
