// Figures and moments as people read them. Times are the reader's own.
import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Job } from "./gen/crater/job/v1/resources_pb.js";

export const ms = (time: Timestamp | undefined): number | undefined => (time ? timestampMs(time) : undefined);

/** "12 s", "3 m 20 s", "5 h 04 m", "2 d 3 h": two units at most. */
export function span(from: number | undefined, to: number): string {
  if (from === undefined) return "–";
  const seconds = Math.max(0, Math.floor((to - from) / 1000));
  const [minutes, hours, days] = [Math.floor(seconds / 60), Math.floor(seconds / 3600), Math.floor(seconds / 86400)];
  const two = (value: number) => String(value).padStart(2, "0");
  if (minutes < 1) return `${seconds}s`;
  if (hours < 1) return `${minutes}m ${two(seconds % 60)}s`;
  if (days < 1) return `${hours}h ${two(minutes % 60)}m`;
  return `${days}d ${hours % 24}h`;
}

export function clock(time: Timestamp | undefined, language: string): string {
  if (!time) return "–";
  const date = new Date(timestampMs(time));
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(language, today ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" });
}

export const full = (time: Timestamp | undefined, language: string): string =>
  time ? new Date(timestampMs(time)).toLocaleString(language, { dateStyle: "full", timeStyle: "long" }) : "";

/** Thousandths as a number without needless zeros: 1500 → "1.5". */
export const thousandths = (millis: bigint | number): string => String(Number(millis) / 1000);

export function bytes(amount: bigint): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = Number(amount);
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toFixed(value < 10 ? 1 : 0))} ${units[unit]}`;
}

/**
 * When the job began to run, if that was after it last began to wait. Clusters tell whole seconds, so the second in which
 * both lie counts.
 */
export function runningSince(job: Job): number | undefined {
  const [queued, started] = [ms(job.queueTime), ms(job.startTime)];
  if (started === undefined) return undefined;
  return queued === undefined || started > queued - 1000 ? started : undefined;
}

/** "2 × 8" a role: GPUs of a replica after the number of replicas. */
export function gpuShape(job: Job): string {
  const roles = job.spec?.roles ?? [];
  const shapes = roles.map((role) => {
    const gpus = thousandths(role.resources?.gpuMillis ?? 0n);
    const replicas = role.replicas || 1;
    return replicas === 1 ? gpus : `${gpus} × ${replicas}`;
  });
  return shapes.join(" + ") || "–";
}
