// A job's way from its submission to its end, and why it waits.
import { clock, full, ms, runningSince, span } from "../format.js";
import { JobState, type Job } from "../gen/crater/job/v1/resources_pb.js";
import type { ExplainJobResponse } from "../gen/crater/scheduling/v1/scheduling_service_pb.js";
import { locale, t } from "../i18n/index.js";
import { now } from "../now.js";
import { hasEnded } from "./parts.js";
import { Remedies } from "./remedies.js";

/** Submitted → waiting → running → ended, each with its moment and how long it took. */
export function Timeline({ job }: { job: Job }) {
  const words = t.value.job;
  const [created, queued, ended] = [ms(job.createTime), ms(job.queueTime), ms(job.endTime)];
  const started = runningSince(job);
  const runs = started !== undefined;
  const step = job.state === JobState.QUEUED || job.state === JobState.STARTING ? 1 : hasEnded(job) ? 3 : 2;
  const until = ended ?? now.value;
  const rows = [
    { label: words.submitted, time: job.createTime, took: "" },
    { label: words.queued, time: job.queueTime, took: span(queued ?? created, runs ? started : until) },
    { label: words.started, time: runs ? job.startTime : undefined, took: runs ? span(started, until) : "" },
    { label: hasEnded(job) ? t.value.state[endName(job.state)] : words.ended, time: job.endTime, took: "" },
  ];
  return (
    <ol class="timeline">
      {rows.map((row, index) => (
        <li
          key={index}
          class={index < step || (index === 3 && step === 3) ? "done" : index === step ? "now" : ""}
          aria-current={index === step ? "step" : undefined}
        >
          <b>{row.label}</b>
          <time title={full(row.time, locale.value)}>{clock(row.time, locale.value)}</time>
          <span class="quiet">{row.took}</span>
        </li>
      ))}
    </ol>
  );
}

const endName = (state: JobState) =>
  state === JobState.SUCCEEDED ? "succeeded" : state === JobState.FAILED ? "failed" : "cancelled";

export function Why({ job, why }: { job: Job; why: ExplainJobResponse | null }) {
  const words = t.value.job;
  const message = why?.message || job.message || job.reason || "…";
  // The sentence often says what the blockers say; then their codes are enough.
  const told = message.toLowerCase();
  return (
    <section class="why" aria-live="polite">
      <h2>
        {words.why}
        {why && why.position > 0 && <span class="quiet"> · {words.position(why.position)}</span>}
        {why?.expectedStartTime && (
          <span class="quiet"> · {words.expected} {clock(why.expectedStartTime, locale.value)}</span>
        )}
      </h2>
      <p data-testid="job-why">{message}</p>
      {why?.forecast && (
        <p class="quiet" data-testid="forecast">
          {words.likely(
            span(now.value, ms(why.forecast.p50Time) ?? now.value),
            span(now.value, ms(why.forecast.p90Time) ?? now.value),
          )}
          {!why.forecast.sure && ` ${words.guess}`}
        </p>
      )}
      {why && why.blockers.length > 0 && (
        <ul>
          {why.blockers.map((blocker, index) => (
            <li key={index}>
              <code>{blocker.reason}</code> {!told.includes(blocker.message.toLowerCase()) && blocker.message}
            </li>
          ))}
        </ul>
      )}
      <Remedies name={job.name} />
    </section>
  );
}

