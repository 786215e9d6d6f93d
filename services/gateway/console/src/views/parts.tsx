// Small pieces that several views show.
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Code } from "@connectrpc/connect";
import type { Link } from "../link.js";
import { hasEnded } from "../jobfilter.js";
import { JobState, ServiceClass, type Job } from "../gen/crater/job/v1/resources_pb.js";
import { t } from "../i18n/index.js";
import type { Problem } from "../problem.js";

const STATES = {
  [JobState.UNSPECIFIED]: "unknown",
  [JobState.QUEUED]: "queued",
  [JobState.STARTING]: "starting",
  [JobState.RUNNING]: "running",
  [JobState.SUCCEEDED]: "succeeded",
  [JobState.FAILED]: "failed",
  [JobState.CANCELLED]: "cancelled",
} as const;

export type StateName = (typeof STATES)[JobState];

/** The state's name in the dictionaries and in class names. */
export const stateName = (job: Job): StateName => STATES[job.state] ?? "unknown";

export { hasEnded };

export function Badge({ job, testid }: { job: Job; testid?: string }) {
  const name = stateName(job);
  const live = !hasEnded(job);
  const word = live && job.cancelling ? "cancelling" : live && job.suspended ? "suspended" : name;
  return (
    <span class={`badge ${word}`} data-testid={testid} data-state={name}>
      {t.value.state[word]}
    </span>
  );
}

export const className = (serviceClass: ServiceClass | undefined) =>
  serviceClass === ServiceClass.BEST_EFFORT ? t.value.class.bestEffort : t.value.class.guaranteed;

export function Indicator({ link, title }: { link: Link | "ended"; title?: string }) {
  return (
    <span class={`link ${link}`} role="status" title={title || undefined}>
      <i aria-hidden="true" />
      {t.value.link[link]}
    </span>
  );
}

/** A refusal, read out when it appears. */
export function Trouble({ problem, children }: { problem: Problem | null; children?: ComponentChildren }) {
  if (!problem) return null;
  const words = t.value.problem;
  const lead: Partial<Record<Code, string>> = {
    [Code.Unavailable]: words.unavailable,
    [Code.DeadlineExceeded]: words.unavailable,
    [Code.PermissionDenied]: words.denied,
    [Code.NotFound]: words.notFound,
    [Code.AlreadyExists]: words.exists,
    [Code.ResourceExhausted]: words.exhausted,
    [Code.Internal]: words.internal,
    [Code.Unimplemented]: words.unimplemented,
    [Code.Aborted]: words.stale,
  };
  return (
    <div class="trouble" role="alert" data-testid="error">
      <p>
        {lead[problem.code] && <strong>{lead[problem.code]} </strong>}
        {problem.text}
      </p>
      {problem.limits.length > 0 && <ul>{problem.limits.map((limit) => <li key={limit}>{limit}</li>)}</ul>}
      {problem.fields.size > 0 && (
        <ul>{[...problem.fields].map(([path, text]) => <li key={path}><code>{path}</code> {text}</li>)}</ul>
      )}
      {problem.retrySeconds !== undefined && <p>{words.retry(problem.retrySeconds)}</p>}
      {children}
    </div>
  );
}

/** A button that asks once more before it acts. */
export function Sure(props: { label: string; sure: string; busy: boolean; testid: string; plain?: boolean; act: () => void }) {
  const [asked, ask] = useState(false);
  useEffect(() => {
    if (!asked) return;
    const timer = setTimeout(() => ask(false), 5000);
    return () => clearTimeout(timer);
  }, [asked]);
  const press = () => {
    ask(!asked);
    if (asked) props.act();
  };
  return (
    <button
      type="button"
      class={asked ? "danger sure" : props.plain ? "plain danger" : "danger"}
      disabled={props.busy}
      data-testid={props.testid}
      onClick={press}
      onBlur={() => ask(false)}
    >
      <span aria-live="polite">{asked ? props.sure : props.label}</span>
    </button>
  );
}

/** Says what the page shows, in the window's title. */
export function useTitle(text: string) {
  const title = `${text} · ${t.value.title}`;
  useEffect(() => {
    document.title = title;
  }, [title]);
}

/** A crater seen from above. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
      <circle cx="12" cy="12" r="9.5" fill="none" stroke="currentColor" stroke-width="2" />
      <circle cx="13.6" cy="13.4" r="5.2" fill="currentColor" />
      <circle cx="4.6" cy="4.4" r="1.6" fill="currentColor" />
    </svg>
  );
}
