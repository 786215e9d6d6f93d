// What is asked beside the stream of jobs: a job's events, and why it waits.
import { useEffect, useState } from "preact/hooks";
import type { Job, JobEvent } from "../gen/crater/job/v1/resources_pb.js";
import type { ExplainJobResponse } from "../gen/crater/scheduling/v1/scheduling_service_pb.js";
import { jobs, scheduling } from "../session.js";
import { backoff, poll } from "../stream.js";
import { hasEnded } from "./parts.js";

/** Reasons change without a change of the job: others come and go. */
const EVERY_MS = 4_000;
const PAGE = 1_000;
const PAGES = 5;

/** All events, oldest first; asked for again whenever the job changes. */
export function useEvents(job: Job): JobEvent[] {
  const [list, setList] = useState<JobEvent[]>([]);
  useEffect(() => {
    const stop = new AbortController();
    void (async () => {
      for (let attempt = 0; !stop.signal.aborted; attempt++) {
        try {
          setList(await allEvents(job.name, stop.signal));
          return;
        } catch {
          await backoff(attempt, stop.signal);
        }
      }
    })();
    return () => stop.abort();
  }, [job.name, job.etag, job.state, job.attempts]);
  return list;
}

async function allEvents(parent: string, signal: AbortSignal): Promise<JobEvent[]> {
  const out: JobEvent[] = [];
  let pageToken = "";
  for (let page = 0; page < PAGES; page++) {
    const answer = await jobs.listEvents({ parent, pageSize: PAGE, pageToken }, { signal });
    out.push(...answer.events);
    pageToken = answer.nextPageToken;
    if (!pageToken) break;
  }
  return out;
}

/** Why it waits, or what it holds; nothing for a job that has ended. */
export function useExplanation(job: Job): ExplainJobResponse | null {
  const [answer, setAnswer] = useState<ExplainJobResponse | null>(null);
  const ended = hasEnded(job);
  useEffect(() => {
    if (ended) return setAnswer(null);
    const stop = new AbortController();
    const ask = (signal: AbortSignal) => scheduling.explainJob({ name: job.name }, { signal });
    void poll(ask, (next) => next && setAnswer(next), EVERY_MS, stop.signal);
    return () => stop.abort();
  }, [job.name, job.state, ended]);
  return answer;
}
