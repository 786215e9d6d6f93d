// One job: where it is and why, its replicas, what happened, and its log.
import { useEffect, useState } from "preact/hooks";
import { Code } from "@connectrpc/connect";
import { jobs as listed } from "../feed.js";
import { bytes, clock, full, ms, now, runningSince, span, thousandths } from "../format.js";
import { JobState, type Job, type JobEvent } from "../gen/crater/job/v1/resources_pb.js";
import type { ExplainJobResponse, Placement } from "../gen/crater/scheduling/v1/scheduling_service_pb.js";
import { locale, t } from "../i18n/index.js";
import { problem, type Problem } from "../problem.js";
import { accountOf, go, idOf } from "../route.js";
import { uuid } from "../rpc.js";
import { jobs } from "../session.js";
import { useEvents, useExplanation } from "./story.js";
import { LogView } from "./log.js";
import { Badge, className, hasEnded, Sure, Trouble } from "./parts.js";

export function JobView({ name }: { name: string }) {
  const words = t.value.job;
  const [fetched, setFetched] = useState<Job | null>(null);
  const [refused, refuse] = useState<Problem | null>(null);
  const inFeed = listed.value?.get(name);
  const job = inFeed ?? fetched;
  const ready = listed.value !== null;

  useEffect(() => {
    document.title = `${idOf(name)} · ${t.value.title}`;
  }, [name]);
  useEffect(() => {
    // A job that the stream does not know: just created, of another account, or deleted.
    if (inFeed || !ready) return;
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
  }, [name, ready, inFeed === undefined]);

  if (job) return <Known job={job} />;
  return (
    <section class="job">
      <a class="back" href="/">← {words.back}</a>
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
        <LogView job={job} />
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
  const [busy, setBusy] = useState(false);
  const [refused, refuse] = useState<Problem | null>(null);
  const act = async (doing: () => Promise<unknown>, then?: () => void) => {
    setBusy(true);
    refuse(null);
    try {
      await doing();
      then?.();
    } catch (cause) {
      refuse(problem(cause));
    } finally {
      setBusy(false);
    }
  };
  const cancel = () => act(() => jobs.cancelJob({ name: job.name, requestId: uuid() }));
  const remove = () => act(() => jobs.deleteJob({ name: job.name, requestId: uuid() }), () => go("/"));
  return (
    <>
      <a class="back" href="/">← {words.back}</a>
      <div class="head">
        <h1>
          <span class="quiet">{accountOf(job.name)}/</span>
          {idOf(job.name)}
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
        {hasEnded(job) ? (
          <Sure label={words.remove} sure={words.removeSure} busy={busy} testid="job-delete" act={() => void remove()} />
        ) : (
          <Sure
            label={words.cancel}
            sure={words.cancelSure}
            busy={busy || job.cancelling}
            testid="job-cancel"
            act={() => void cancel()}
          />
        )}
      </div>
      <Trouble problem={refused} />
    </>
  );
}

/** Submitted → waiting → running → ended, each with its moment and how long it took. */
function Timeline({ job }: { job: Job }) {
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

function Why({ job, why }: { job: Job; why: ExplainJobResponse | null }) {
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
      {why && why.blockers.length > 0 && (
        <ul>
          {why.blockers.map((blocker, index) => (
            <li key={index}>
              <code>{blocker.reason}</code> {!told.includes(blocker.message.toLowerCase()) && blocker.message}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Replicas({ job }: { job: Job }) {
  const words = t.value.job;
  const columns = ["waiting", "starting", "running", "succeeded", "failed"] as const;
  return (
    <section class="panel">
      <h2>{words.replicas}</h2>
      <table class="small">
        <thead>
          <tr>
            <th scope="col">{words.role}</th>
            {columns.map((column) => <th scope="col" class="figure" key={column}>{words[column]}</th>)}
          </tr>
        </thead>
        <tbody>
          {(job.spec?.roles ?? []).map((role) => {
            const status = job.roles.find((each) => each.role === role.name);
            return (
              <tr key={role.name}>
                <th scope="row">
                  {role.name} <span class="quiet">× {role.replicas || 1}</span>
                </th>
                {columns.map((column) => (
                  <td class={status?.[column] ? "figure" : "figure quiet"} key={column}>{status?.[column] ?? 0}</td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </section>
  );
}

function Where({ job, why }: { job: Job; why: ExplainJobResponse | null }) {
  const words = t.value.job;
  const placements = hasEnded(job) ? [] : (why?.placements ?? []);
  return (
    <section class="panel">
      <h2>{hasEnded(job) ? words.ran : words.where}</h2>
      {placements.length > 0 ? (
        <ul class="plainly">
          {placements.map((placement, index) => (
            <li key={index}>
              <b>{placement.node}</b> {replicaRange(placement)}
              {placement.gpus.length > 0 && <span class="quiet"> {words.devices} {deviceList(placement)}</span>}
            </li>
          ))}
        </ul>
      ) : job.nodes.length > 0 ? (
        <p>{job.nodes.join(", ")}</p>
      ) : (
        <p class="quiet">{words.nowhere}</p>
      )}
    </section>
  );
}

function replicaRange({ role, firstReplica, count }: Placement): string {
  return count > 1 ? `${role}-${firstReplica}…${firstReplica + count - 1}` : `${role}-${firstReplica}`;
}

const deviceList = ({ gpus }: Placement) =>
  gpus.map(({ indexes, millis }) => indexes.join(",") + (millis < 1000 ? ` (${millis / 10}%)` : "")).join(" | ");

function Events({ list }: { list: JobEvent[] }) {
  const words = t.value.job;
  return (
    <section class="panel">
      <h2>{words.events}</h2>
      {list.length === 0 ? (
        <p class="quiet">{words.noEvents}</p>
      ) : (
        <ol class="events" data-testid="events">
          {list.map((event) => (
            <li key={String(event.sequence)}>
              <time title={full(event.time, locale.value)}>{clock(event.time, locale.value)}</time>
              <span><b>{event.reason}</b> {event.message}</span>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

function Facts({ job }: { job: Job }) {
  const words = t.value.job;
  const spec = job.spec;
  const duration = spec?.expectedDuration ? Number(spec.expectedDuration.seconds) : 0;
  const rows: [string, string][] = [
    [words.creator, idOf(job.creator)],
    [words.class, className(spec?.serviceClass)],
    [words.priority, String(spec?.priority ?? 0)],
  ];
  for (const role of spec?.roles ?? []) {
    const need = role.resources;
    const each = [
      words.gpu(thousandths(need?.gpuMillis ?? 0n), role.gpuModels.join("/")),
      words.cores(thousandths(need?.cpuMillis ?? 0n)),
      bytes(need?.memoryBytes ?? 0n),
    ];
    rows.push([words.each, each.join(", ")]);
    if (role.image) rows.push([words.image, role.image]);
    rows.push([words.command, commandLine(role.command, role.args)]);
  }
  if (duration > 0) rows.push([words.expectedDuration, span(0, duration * 1000)]);
  rows.push([words.attempts, String(job.attempts)], [words.preemptions, String(job.preemptions)], [words.uid, job.uid]);
  return (
    <section class="panel">
      <h2>{words.facts}</h2>
      <dl class="facts">
        {rows.map(([label, value], index) => (
          <div key={index}>
            <dt>{label}</dt>
            <dd>{value || "–"}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

/** A shell line as it was typed; any other command word by word, quoted where words would run together. */
function commandLine(command: string[], args: string[]): string {
  if (command.length === 3 && command[0]?.endsWith("sh") && command[1] === "-c") return command[2] ?? "";
  return [...command, ...args].map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(" ");
}
