// Which jobs are asked for: kept in the address, sent with List and Watch, and applied to what streams bring. No IO.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ms } from "./format.js";
import type { JobFilterSchema } from "./gen/crater/job/v1/job_service_pb.js";
import { JobState, ServiceClass, type Job } from "./gen/crater/job/v1/resources_pb.js";
import { accountOf, idOf } from "./route.js";

export const ACTIVE = [JobState.QUEUED, JobState.STARTING, JobState.RUNNING];
export const OVER = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED];
export const hasEnded = (job: Job) => OVER.includes(job.state);

export const TABS = ["all", "active", "queued", "running", "suspended", "succeeded", "failed", "cancelled"] as const;
export type Tab = (typeof TABS)[number];
const STATES: Record<Tab, JobState[]> = {
  all: [],
  active: ACTIVE,
  queued: [JobState.QUEUED],
  running: [JobState.STARTING, JobState.RUNNING],
  suspended: [],
  succeeded: [JobState.SUCCEEDED],
  failed: [JobState.FAILED],
  cancelled: [JobState.CANCELLED],
};

export const ORDERS = ["create_time", "end_time", "priority"] as const;
export type Order = { by: (typeof ORDERS)[number]; down: boolean };

/** How far back; the dictionaries name them. */
export const SINCE = ["hour", "day", "week", "month"] as const;
const HOUR_MS = 3_600_000;
const SINCE_MS: Record<(typeof SINCE)[number], number> = {
  hour: HOUR_MS, day: 24 * HOUR_MS, week: 7 * 24 * HOUR_MS, month: 30 * 24 * HOUR_MS,
};

export interface Wanted {
  tab: Tab;
  /** Ids; empty means any. */
  account: string;
  user: string;
  class: "" | "guaranteed" | "best-effort";
  /** "key=value" or "key", several by spaces. */
  label: string;
  /** Part of the id. */
  text: string;
  since: "" | (typeof SINCE)[number];
  /** Days such as "2026-01-31", the last one included; the reader's own midnight. */
  from: string;
  until: string;
  order: Order;
}

export const NEWEST: Order = { by: "create_time", down: true };
export const ANY: Wanted = {
  tab: "all", account: "", user: "", class: "", label: "", text: "", since: "", from: "", until: "", order: NEWEST,
};

const among = <T extends string>(all: readonly T[], text: string | null): T | undefined => all.find((each) => each === text);

export function fromQuery(query: string): Wanted {
  const get = new URLSearchParams(query);
  const [by, way] = (get.get("order") ?? "").split(" ");
  const day = (key: string) => (/^\d{4}-\d\d-\d\d$/.test(get.get(key) ?? "") ? get.get(key)! : "");
  const order = among(ORDERS, by ?? null);
  return {
    tab: among(TABS, get.get("state")) ?? "all",
    account: get.get("account") ?? "",
    user: get.get("user") ?? "",
    class: among(["guaranteed", "best-effort"] as const, get.get("class")) ?? "",
    label: get.get("label") ?? "",
    text: get.get("text") ?? "",
    since: among(SINCE, get.get("since")) ?? "",
    from: day("from"),
    until: day("until"),
    order: order ? { by: order, down: way === "desc" } : NEWEST,
  };
}

/** Only what differs from the default: an address is short. */
export function toQuery(wanted: Wanted): URLSearchParams {
  const out = new URLSearchParams();
  if (wanted.tab !== "all") out.set("state", wanted.tab);
  for (const key of ["account", "user", "class", "label", "text", "since", "from", "until"] as const) {
    if (wanted[key]) out.set(key, wanted[key]);
  }
  if (orderBy(wanted.order) !== orderBy(NEWEST)) out.set("order", orderBy(wanted.order));
  return out;
}

export const orderBy = ({ by, down }: Order) => (down ? `${by} desc` : by);

export function labelsOf(text: string): Record<string, string> {
  const out: Record<string, string> = {};
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const at = word.indexOf("=");
    out[at < 0 ? word : word.slice(0, at)] = at < 0 ? "" : word.slice(at + 1);
  }
  return out;
}

/** The bounds of creation, in ms; undefined is open. */
export function bounds(wanted: Wanted, now: number): { after?: number; before?: number } {
  const midnight = (day: string, plusDays: number) => {
    const [year, month, date] = day.split("-").map(Number);
    return new Date(year!, month! - 1, date! + plusDays).getTime();
  };
  const after = wanted.since ? now - SINCE_MS[wanted.since] : wanted.from ? midnight(wanted.from, 0) : undefined;
  const before = !wanted.since && wanted.until ? midnight(wanted.until, 1) : undefined;
  return { ...(after === undefined ? {} : { after }), ...(before === undefined ? {} : { before }) };
}

type Filter = MessageInitShape<typeof JobFilterSchema>;

export function filterOf(wanted: Wanted, now: number): Filter {
  const { after, before } = bounds(wanted, now);
  const classes = { guaranteed: ServiceClass.GUARANTEED, "best-effort": ServiceClass.BEST_EFFORT } as const;
  return {
    states: STATES[wanted.tab],
    creators: wanted.user ? [`users/${wanted.user}`] : [],
    serviceClasses: wanted.class ? [classes[wanted.class]] : [],
    labels: labelsOf(wanted.label),
    idContains: wanted.text,
    ...(wanted.tab === "suspended" ? { suspended: true } : {}),
    ...(after === undefined ? {} : { createdAfter: timestampFromMs(after) }),
    ...(before === undefined ? {} : { createdBefore: timestampFromMs(before) }),
  };
}

export const parentOf = (wanted: Wanted) => `accounts/${wanted.account || "-"}`;

/** The same filter, on jobs that have not ended, or on those that ended from a moment on; null where none can match. */
export function halves(wanted: Wanted, now: number): { active: Filter | null; ended: Filter | null } {
  const filter = filterOf(wanted, now);
  const only = (states: JobState[]) => {
    const both = STATES[wanted.tab].length === 0 ? states : states.filter((each) => STATES[wanted.tab].includes(each));
    return both.length === 0 ? null : { ...filter, states: both };
  };
  const ended = wanted.tab === "suspended" ? null : only(OVER);
  // Clocks differ: a little earlier than needed costs nothing.
  return { active: only(ACTIVE), ended: ended && { ...ended, endedAfter: timestampFromMs(now - 120_000) } };
}

/** Whether a job is among those wanted. */
export function matches(job: Job, wanted: Wanted, now: number): boolean {
  const states = STATES[wanted.tab];
  const { after, before } = bounds(wanted, now);
  const created = ms(job.createTime) ?? 0;
  const bestEffort = job.spec?.serviceClass === ServiceClass.BEST_EFFORT;
  return (
    (states.length === 0 || states.includes(job.state)) &&
    (wanted.tab !== "suspended" || job.suspended) &&
    (!wanted.account || accountOf(job.name) === wanted.account) &&
    (!wanted.user || idOf(job.creator) === wanted.user) &&
    (!wanted.class || (wanted.class === "best-effort") === bestEffort) &&
    Object.entries(labelsOf(wanted.label)).every(([key, value]) => key in job.labels && (!value || job.labels[key] === value)) &&
    idOf(job.name).includes(wanted.text) &&
    (after === undefined || created >= after) &&
    (before === undefined || created < before)
  );
}

/** The order that the server lists in. */
export function compare({ by, down }: Order) {
  const key = (job: Job) =>
    by === "priority" ? (job.spec?.priority ?? 0) : by === "end_time" ? (ms(job.endTime) ?? null) : (ms(job.createTime) ?? 0);
  return (a: Job, b: Job): number => {
    const [left, right] = [key(a), key(b)];
    // Jobs that have not ended stand after those that have, or before them when the order is turned.
    if (left === null || right === null) {
      if (left !== right) return (left === null) === down ? 1 : -1;
    } else if (left !== right) return down ? right - left : left - right;
    return (ms(b.createTime) ?? 0) - (ms(a.createTime) ?? 0) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
  };
}

export interface Parts {
  /** Pages of List so far, in order; null before the first. */
  listed: readonly Job[] | null;
  /** Whether List has more. */
  more: boolean;
  /** What the streams know; null until they are complete. */
  active: ReadonlyMap<string, Job> | null;
  ended: ReadonlyMap<string, Job> | null;
  /** Deleted by the reader since. */
  gone: ReadonlySet<string>;
}

/**
 * One table out of pages and streams. A job that has not ended is there if its stream says so; one that has, if it was
 * listed or ended since. What comes after the last page stays out until that page is asked for.
 */
export function merge({ listed, more, active, ended, gone }: Parts, order: Order): Job[] {
  const before = compare(order);
  const out = new Map<string, Job>();
  for (const job of listed ?? []) if (hasEnded(job) || active === null) out.set(job.name, job);
  for (const job of ended?.values() ?? []) out.set(job.name, job);
  for (const job of active?.values() ?? []) out.set(job.name, job);
  for (const name of gone) out.delete(name);
  const sorted = [...out.values()].sort(before);
  const last = more ? listed?.at(-1) : undefined;
  return last ? sorted.filter((job) => before(job, last) <= 0) : sorted;
}
