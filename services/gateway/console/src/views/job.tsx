// One job: where it is and why, its replicas, what happened, what it used, and its log.
import { useEffect, useMemo, useState } from "preact/hooks";
import { signal } from "@preact/signals";
import { Code } from "@connectrpc/connect";
import { useAct } from "../act.js";
import { watch } from "../feed.js";
import { JobState, type Job } from "../gen/crater/job/v1/resources_pb.js";
import { t } from "../i18n/index.js";
import { problem, type Problem } from "../problem.js";
import { accountOf, go, idOf } from "../route.js";
import { jobs } from "../session.js";
import { useEvents, useExplanation } from "./story.js";
import { ChangeJob } from "./jobchange.js";
import { Events, Facts, Replicas, Where } from "./jobside.js";
import { Timeline, Why } from "./jobtime.js";
import { LogView } from "./log.js";
import { Badge, hasEnded, Sure, Trouble, useTitle } from "./parts.js";
import { Usage } from "./usage.js";

export function JobView({ name }: { name: string }) {
  const words = t.value.job;
  const [fetched, setFetched] = useState<Job | null>(null);
  const [refused, refuse] = useState<Problem | null>(null);
  const stream = useMemo(() => signal<ReturnType<typeof watch> | null>(null), [name]);
  useEffect(() => {
    const stop = new AbortController();
    stream.value = watch({ parent: `accounts/${accountOf(name)}`, job: name }, stop.signal);
    return () => stop.abort();
  }, [name]);
  const known = stream.value?.value ?? null;
  const streamed = known?.get(name);
  const job = streamed ?? (known === null ? fetched : null);
  useTitle(idOf(name));

  useEffect(() => {
    // The first picture need not wait for the stream; and what the stream does not know is missing, or not ours.
    if (streamed) return;
    const stop = new AbortController();
    jobs
      .getJob({ name }, { signal: stop.signal })
      .then((answer) => setFetched(answer.job ?? null))
      .catch((cause: unknown) => {
        if (stop.signal.aborted) return;
        setFetched(null);
        refuse(problem(cause));
      });
    return () => stop.abort();
  }, [name, known === null, streamed === undefined]);

  if (job) return <Known job={job} />;
  return (
    <section class="job">
      <a class="back" href="/jobs">← {words.back}</a>
      {refused?.code === Code.NotFound ? (
        <p class="empty" role="alert" data-testid="error">{words.missing}</p>
      ) : refused ? (
        <Trouble problem={refused} />
      ) : (
        <p class="empty" role="status">{words.loading}</p>
      )}
    </section>
  );
}

function Known({ job }: { job: Job }) {
  const why = useExplanation(job);
  const happened = useEvents(job);
  return (
    <section class="job">
      <Head job={job} />
      <Timeline job={job} />
      {job.state === JobState.QUEUED ? <Why job={job} why={why} /> : job.message && <p class="message">{job.message}</p>}
      <div class="columns">
        <div class="side">
          <LogView job={job} />
          <Usage job={job} />
        </div>
        <div class="side">
          <Replicas job={job} />
          <Where job={job} why={why} />
          <Events list={happened} />
          <Facts job={job} />
        </div>
      </div>
    </section>
  );
}

function Head({ job }: { job: Job }) {
  const words = t.value.job;
  const act = useAct();
  const [changing, change] = useState(false);
  const { name } = job;
  const cancel = () => act.run((requestId) => jobs.cancelJob({ name, requestId }));
  const suspend = () => act.run((requestId) => jobs.suspendJob({ name, requestId }));
  const resume = () => act.run((requestId) => jobs.resumeJob({ name, requestId }));
  const remove = async () => {
    if (await act.run((requestId) => jobs.deleteJob({ name, requestId }))) go("/jobs");
  };
  return (
    <>
      <a class="back" href="/jobs">← {words.back}</a>
      <div class="head">
        <h1>
          <span class="quiet">{accountOf(name)}/</span>
          {idOf(name)}
        </h1>
        <span role="status">
          <Badge job={job} testid="job-state" />
        </span>
        {job.exitCode !== undefined && hasEnded(job) && (
          <span class="quiet">
            {words.exitCode} <b data-testid="job-exit-code">{job.exitCode}</b>
          </span>
        )}
        <span class="grow" />
        {job.state === JobState.QUEUED && !job.cancelling && (
          <button type="button" disabled={act.busy} data-testid="job-change" onClick={() => change(true)}>
            {words.change}
          </button>
        )}
        {hasEnded(job) ? (
          <Sure label={words.remove} sure={words.removeSure} busy={act.busy} testid="job-delete" act={() => void remove()} />
        ) : (
          <>
            {job.suspended ? (
              <button type="button" disabled={act.busy || job.cancelling} data-testid="job-resume" onClick={() => void resume()}>
                {words.resume}
              </button>
            ) : (
              <Sure
                label={words.suspend}
                sure={words.suspendSure}
                busy={act.busy || job.cancelling}
                testid="job-suspend"
                act={() => void suspend()}
              />
            )}
            <Sure
              label={words.cancel}
              sure={words.cancelSure}
              busy={act.busy || job.cancelling}
              testid="job-cancel"
              act={() => void cancel()}
            />
          </>
        )}
      </div>
      <Trouble problem={act.refused} />
      {changing && <ChangeJob job={job} close={() => change(false)} />}
    </>
  );
}
