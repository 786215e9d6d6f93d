// A live table of jobs: pages from ListJobs, and two streams that keep them true: jobs that have not ended, and jobs that
// end from now on. So a table over a million ended jobs costs no more than what is looked at.
import { computed, signal, type ReadonlySignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { Code } from "@connectrpc/connect";
import { watch } from "./feed.js";
import type { Job } from "./gen/crater/job/v1/resources_pb.js";
import { filterOf, halves, matches, merge, orderBy, parentOf, toQuery, type Wanted } from "./jobfilter.js";
import { problem, type Problem } from "./problem.js";
import { jobs as service } from "./session.js";
import { backoff } from "./stream.js";

/** What asking again does not change. */
const FOR_GOOD = [Code.InvalidArgument, Code.Unimplemented, Code.PermissionDenied, Code.NotFound];

export interface JobList {
  /** In order; null until the first page came. */
  rows: ReadonlySignal<Job[] | null>;
  /** Whether List has more. */
  more: ReadonlySignal<boolean>;
  busy: ReadonlySignal<boolean>;
  /** Why there is no page. */
  refused: ReadonlySignal<Problem | null>;
  next(): void;
  /** Forgets a job that the reader deleted. */
  drop(name: string): void;
}

export function useJobs(wanted: Wanted, pageSize: number): JobList {
  const key = `${parentOf(wanted)}?${toQuery(wanted)}`;
  const list = useMemo(() => open(wanted, pageSize), [key]);
  useEffect(() => list.start(), [list]);
  return list;
}

function open(wanted: Wanted, pageSize: number) {
  const began = Date.now();
  const parent = parentOf(wanted);
  const listed = signal<Job[] | null>(null);
  const token = signal("");
  const busy = signal(false);
  const refused = signal<Problem | null>(null);
  const gone = signal<ReadonlySet<string>>(new Set());
  const streams = signal<{ active: ReadonlySignal<ReadonlyMap<string, Job> | null>; ended: ReadonlySignal<ReadonlyMap<string, Job> | null> } | null>(null);
  let stop = new AbortController();

  const page = async () => {
    if (busy.value) return;
    busy.value = true;
    const { signal: over } = stop;
    for (let attempt = 0; !over.aborted; attempt++) {
      try {
        const request = { parent, pageSize, pageToken: token.value, filter: filterOf(wanted, began), orderBy: orderBy(wanted.order) };
        const answer = await service.listJobs(request, { signal: over });
        listed.value = [...(listed.value ?? []), ...answer.jobs];
        token.value = answer.nextPageToken;
        refused.value = null;
        break;
      } catch (cause) {
        if (over.aborted) break;
        const found = problem(cause);
        refused.value = found;
        if (FOR_GOOD.includes(found.code)) break;
        await backoff(attempt, over);
      }
    }
    busy.value = false;
  };

  const rows = computed(() => {
    const [active, ended] = [streams.value?.active.value ?? null, streams.value?.ended.value ?? null];
    if (listed.value === null && (refused.value === null || active === null)) return null;
    const parts = { listed: listed.value, more: token.value !== "", active, ended, gone: gone.value };
    return merge(parts, wanted.order).filter((job) => matches(job, wanted, began));
  });

  return {
    rows,
    more: computed(() => token.value !== ""),
    busy,
    refused,
    next: () => void page(),
    drop: (name: string) => (gone.value = new Set(gone.value).add(name)),
    start() {
      stop = new AbortController();
      const { active, ended } = halves(wanted, began);
      const none = signal(new Map<string, Job>());
      streams.value = {
        active: active ? watch({ parent, filter: active }, stop.signal) : none,
        ended: ended ? watch({ parent, filter: ended }, stop.signal) : none,
      };
      void page();
      return () => stop.abort();
    },
  };
}
