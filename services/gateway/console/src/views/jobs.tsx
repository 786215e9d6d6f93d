// All jobs of the reader's accounts, live.
import { useEffect, useMemo, useState } from "preact/hooks";
import { jobs } from "../feed.js";
import { clock, gpuShape, ms, now, runningSince, span } from "../format.js";
import type { Job } from "../gen/crater/job/v1/resources_pb.js";
import { locale, t } from "../i18n/index.js";
import { accountOf, go, idOf, jobPath } from "../route.js";
import { Badge, className, hasEnded, stateName } from "./parts.js";

const TABS = ["all", "active", "queued", "running", "succeeded", "failed", "cancelled"] as const;
type Tab = (typeof TABS)[number];
/** Rows drawn at first, and with each press of "more". */
const PAGE = 200;

function inTab(job: Job, tab: Tab): boolean {
  const name = stateName(job);
  if (tab === "all") return true;
  if (tab === "active") return !hasEnded(job);
  if (tab === "running") return name === "running" || name === "starting";
  return name === tab;
}

function matches(job: Job, words: string[]): boolean {
  const text = [job.name, job.creator, job.reason, job.message, ...Object.entries(job.labels).flat()].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

const newestFirst = (a: Job, b: Job) =>
  (ms(b.createTime) ?? 0) - (ms(a.createTime) ?? 0) || (a.name < b.name ? -1 : 1);

export function JobsView() {
  const [tab, setTab] = useState<Tab>("all");
  const [text, setText] = useState("");
  const [limit, setLimit] = useState(PAGE);
  const all = jobs.value;
  const words = t.value.jobs;
  useEffect(() => {
    document.title = `${words.heading} · ${t.value.title}`;
  }, [words]);

  const typed = useMemo(() => {
    const terms = text.toLowerCase().split(/\s+/).filter(Boolean);
    return [...(all?.values() ?? [])].filter((job) => matches(job, terms)).sort(newestFirst);
  }, [all, text]);
  const shown = typed.filter((job) => inTab(job, tab));

  return (
    <section class="jobs">
      <div class="tools">
        <h1>{words.heading}</h1>
        <div class="tabs" role="group" aria-label={words.byState}>
          {TABS.map((each) => (
            <button type="button" key={each} aria-pressed={each === tab} onClick={() => setTab(each)}>
              {t.value.state[each]} <span class="count">{typed.filter((job) => inTab(job, each)).length}</span>
            </button>
          ))}
        </div>
        <input
          type="search"
          aria-label={words.filter}
          placeholder={words.filterHint}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          data-testid="filter"
        />
      </div>
      {all === null ? (
        <p class="empty" role="status">{words.loading}</p>
      ) : shown.length === 0 ? (
        <p class="empty">
          {all.size > 0 ? words.noneMatch : <>{words.none} <a href="/submit">{words.noneHint}</a></>}
        </p>
      ) : (
        <Table rows={shown.slice(0, limit)} />
      )}
      {shown.length > limit && (
        <button type="button" class="more" onClick={() => setLimit(limit + PAGE)}>
          {words.more(Math.min(PAGE, shown.length - limit))}
        </button>
      )}
    </section>
  );
}

function Table({ rows }: { rows: Job[] }) {
  const words = t.value.jobs;
  return (
    <div class="scroll">
      <table class="list">
        <thead>
          <tr>
            <th scope="col">{words.name}</th>
            <th scope="col">{words.state}</th>
            <th scope="col">{words.account}</th>
            <th scope="col">{words.class}</th>
            <th scope="col" class="figure" title={words.gpusHint}>{words.gpus}</th>
            <th scope="col">{words.reason}</th>
            <th scope="col" class="figure">{words.duration}</th>
            <th scope="col" class="figure">{words.age}</th>
            <th scope="col">{words.creator}</th>
          </tr>
        </thead>
        <tbody>{rows.map((job) => <Row key={job.name} job={job} />)}</tbody>
      </table>
    </div>
  );
}

function Row({ job }: { job: Job }) {
  const waits = !hasEnded(job) && stateName(job) !== "running";
  const told = waits || stateName(job) === "failed";
  // A click anywhere in the row opens the job; the keyboard has the link.
  const open = (event: MouseEvent) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target?.closest("a") && !getSelection()?.toString()) go(jobPath(job.name));
  };
  return (
    <tr data-testid={`job-row-${idOf(job.name)}`} data-state={stateName(job)} onClick={open}>
      <td class="name">
        <a href={jobPath(job.name)}>{idOf(job.name)}</a>
      </td>
      <td><Badge job={job} /></td>
      <td>{accountOf(job.name)}</td>
      <td class="quiet">{className(job.spec?.serviceClass)}</td>
      <td class="figure">{gpuShape(job)}</td>
      <td class="reason" title={job.message}>{told ? job.message || job.reason : ""}</td>
      <td class="figure"><Ran job={job} /></td>
      <td class="figure quiet" title={clock(job.createTime, locale.value)}>{span(ms(job.createTime), now.value)}</td>
      <td class="quiet">{idOf(job.creator)}</td>
    </tr>
  );
}

function Ran({ job }: { job: Job }) {
  const start = runningSince(job);
  if (start === undefined || stateName(job) === "queued" || stateName(job) === "starting") return <>–</>;
  return <>{span(start, ms(job.endTime) ?? now.value)}</>;
}
