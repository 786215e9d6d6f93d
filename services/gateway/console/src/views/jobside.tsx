// What stands beside a job's log: its replicas, where they are, what happened, and what was asked for.
import { bytes, clock, full, span, thousandths } from "../format.js";
import type { Job, JobEvent } from "../gen/crater/job/v1/resources_pb.js";
import type { ExplainJobResponse, Placement } from "../gen/crater/scheduling/v1/scheduling_service_pb.js";
import { locale, t } from "../i18n/index.js";
import { idOf } from "../route.js";
import { className, hasEnded } from "./parts.js";

export function Replicas({ job }: { job: Job }) {
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

export function Where({ job, why }: { job: Job; why: ExplainJobResponse | null }) {
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

export function Events({ list }: { list: JobEvent[] }) {
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

export function Facts({ job }: { job: Job }) {
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
      ...Object.entries(need?.devices ?? {}).map(([name, count]) => `${count} ${name}`),
    ];
    rows.push([words.each, each.join(", ")]);
    if (role.image) rows.push([words.image, role.image]);
    rows.push([words.command, commandLine(role.command, role.args)]);
  }
  const selector = Object.entries(spec?.nodeSelector ?? {}).map(([key, value]) => `${key}=${value}`);
  if (selector.length > 0) rows.push([words.nodeSelector, selector.join(", ")]);
  if (spec?.topology) rows.push([spec.topology.required ? words.within : words.near, spec.topology.key]);
  if (duration > 0) rows.push([words.expectedDuration, span(0, duration * 1000)]);
  if (job.checkpointTime) rows.push([words.saved, full(job.checkpointTime, locale.value)]);
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
