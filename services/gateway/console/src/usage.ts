// What a job held and for how long, laid out on a line of time. No IO.
import { ms } from "./format.js";
import type { UsageSpan } from "./gen/crater/job/v1/resources_pb.js";

export interface Bar {
  span: UsageSpan;
  /** Parts of the whole width, 0 to 1. */
  left: number;
  width: number;
  /** Part of the most that was ever held, 0 to 1. */
  height: number;
  gpuHours: number;
}

export const HOUR_MS = 3_600_000;

export function layOut(spans: readonly UsageSpan[], now: number): { bars: Bar[]; from: number; until: number; most: number } {
  const from = Math.min(...spans.map((span) => ms(span.startTime) ?? now));
  const until = Math.max(...spans.map((span) => ms(span.endTime) ?? now));
  const held = (span: UsageSpan) => Number(span.resources?.gpuMillis ?? 0n) / 1000;
  const most = Math.max(...spans.map(held));
  const whole = Math.max(1, until - from);
  const bars = spans.map((span) => {
    const [start, end] = [ms(span.startTime) ?? now, ms(span.endTime) ?? now];
    const length = Math.max(0, end - start);
    return {
      span,
      left: (start - from) / whole,
      width: length / whole,
      height: most > 0 ? held(span) / most : 1,
      gpuHours: (held(span) * length) / HOUR_MS,
    };
  });
  return { bars, from, until, most };
}

/** "0.04", "3.1", "128": as many figures as are worth reading. */
export const hours = (amount: number) =>
  amount === 0 ? "0" : amount < 0.1 ? amount.toPrecision(1) : amount < 100 ? String(Number(amount.toFixed(1))) : String(Math.round(amount));
