// Limits and what is used of them: units as people write them, and what a bar shows. No IO.
import { bytes } from "./format.js";
import type { Quota } from "./gen/crater/quota/v1/quota_service_pb.js";

const GIB = 1024 ** 3;
export const JOBS = ["jobs.running", "jobs.waiting"];

/** Whether it is a device by the name by which nodes offer it, "rdma/hca". */
export const isDevice = (resource: string) => resource.includes("/") && !resource.startsWith("gpu/");

/** How many of the wire's units one of the unit that people write is. */
const scale = (resource: string) => (resource === "memory" ? GIB : resource.startsWith("jobs.") || isDevice(resource) ? 1 : 1000);

/** An amount with its unit, where it needs one: "1.5", "64 GiB". */
export const say = (resource: string, amount: bigint | number): string =>
  resource === "memory" ? bytes(BigInt(amount)) : String(Number(amount) / scale(resource));

/** An amount as it is typed: cores, GiB, GPUs, jobs. */
export const typed = (resource: string, amount: bigint | undefined): string =>
  amount === undefined ? "" : String(Number(amount) / scale(resource));

/** Undefined for nothing, null for what is no amount. */
export function amount(resource: string, text: string): bigint | undefined | null {
  const bare = text.trim();
  if (bare === "") return undefined;
  const value = Number(bare) * scale(resource);
  // Of bytes nobody types fractions; of the rest the wire's unit is the smallest there is.
  const whole = resource === "memory" ? Math.round(value) : value;
  if (!Number.isSafeInteger(resource === "memory" ? whole : Math.round(whole))) return null;
  return Math.abs(whole - Math.round(whole)) > 1e-6 ? null : BigInt(Math.round(whole));
}

export interface Measure {
  resource: string;
  guaranteed: bigint | undefined;
  limit: bigint | undefined;
  /** Held by guaranteed jobs: inside the guarantee, and beyond it. */
  within: bigint;
  borrowed: bigint;
  /** Held by best-effort jobs, which count against nothing. */
  bestEffort: bigint;
  /** What the whole width of the bar stands for; at least 1. */
  full: bigint;
}

const RANK = ["gpu", "cpu", "memory", "jobs.running", "jobs.waiting"];
const rank = (resource: string) => (resource.startsWith("gpu/") ? -1 : isDevice(resource) ? RANK.indexOf("gpu") : RANK.indexOf(resource));

/** A bar a resource that has a limit, a guarantee or a use: GPUs and devices first. */
export function measures(quota: Quota): Measure[] {
  const limits = new Map(quota.resources.map((row) => [row.resource, row]));
  const used = new Map(quota.usage.map((row) => [row.resource, row]));
  const out: Measure[] = [];
  for (const resource of new Set([...limits.keys(), ...used.keys()])) {
    const { guaranteed, limit } = limits.get(resource) ?? {};
    const held = used.get(resource)?.guaranteed ?? 0n;
    const bestEffort = used.get(resource)?.bestEffort ?? 0n;
    if (!limits.has(resource) && held === 0n && bestEffort === 0n) continue;
    const owed = guaranteed ?? 0n;
    // Without a guarantee nothing is borrowed: it is simply used.
    const within = guaranteed === undefined || held < owed ? held : owed;
    const reach = [limit ?? 0n, owed, held + bestEffort, 1n].reduce((a, b) => (a > b ? a : b));
    out.push({ resource, guaranteed, limit, within, borrowed: held - within, bestEffort, full: reach });
  }
  return out.sort((a, b) => rank(a.resource) - rank(b.resource) || a.resource.localeCompare(b.resource));
}

/** "A100" of "gpu/A100"; empty for what is no model. */
export const modelOf = (resource: string) => (resource.startsWith("gpu/") ? resource.slice(4) : "");

/** The account's id, and the user's for a user's own limits. */
export function ownerOf(name: string): { account: string; user: string } {
  const [, account = "", kind, user = ""] = name.split("/");
  return { account, user: kind === "users" ? user : "" };
}

export interface Branch<T> {
  item: T;
  depth: number;
}

/** A tree in the order of reading; an account whose parent is not there stands at the top. */
export function branches<T extends { name: string; parent: string }>(items: readonly T[]): Branch<T>[] {
  const names = new Set(items.map((item) => item.name));
  const below = new Map<string, T[]>();
  for (const item of items) {
    const parent = names.has(item.parent) && item.parent !== item.name ? item.parent : "";
    below.set(parent, [...(below.get(parent) ?? []), item]);
  }
  const out: Branch<T>[] = [];
  const walk = (parent: string, depth: number) => {
    const children = [...(below.get(parent) ?? [])].sort((a, b) => a.name.localeCompare(b.name));
    for (const item of children) {
      out.push({ item, depth });
      walk(item.name, depth + 1);
    }
  };
  walk("", 0);
  return out;
}

/** Whether `name` is `above` or somewhere below it. */
export function isBelow(name: string, above: string, items: readonly { name: string; parent: string }[]): boolean {
  const parents = new Map(items.map((item) => [item.name, item.parent]));
  let at: string | undefined = name;
  for (let steps = 0; at && steps <= items.length; steps++) {
    if (at === above) return true;
    at = parents.get(at);
  }
  return false;
}
