// The live log, of one replica or of all, of any start of the job. Lines go to the page without the framework: a job may
// write thousands a second.
import { useEffect, useRef, useState } from "preact/hooks";
import { JobState, type Job, type LogLine } from "../gen/crater/job/v1/resources_pb.js";
import { t } from "../i18n/index.js";
import type { Link } from "../link.js";
import { plain } from "../lines.js";
import { follow } from "../logs.js";
import { problem, type Problem } from "../problem.js";
import { hasEnded, Indicator, Trouble } from "./parts.js";

/** More lines than this push the oldest out. */
const KEPT = 5_000;
/** So many replicas of a role can be chosen by name. */
const NAMED = 500;

type Row = LogLine | string;

export function LogView({ job }: { job: Job }) {
  const words = t.value.job;
  const box = useRef<HTMLDivElement>(null);
  const [link, setLink] = useState<Link | "ended">("connecting");
  const [count, setCount] = useState(0);
  const [cut, setCut] = useState(false);
  const [following, setFollowing] = useState(true);
  const [refused, refuse] = useState<Problem | null>(null);
  /** "role/number"; empty for all. */
  const [only, setOnly] = useState("");
  const [attempt, setAttempt] = useState(0);
  const latest = useRef(job);
  latest.current = job;
  const follows = useRef(true);

  const roles = job.spec?.roles ?? [];
  const replicas = roles.flatMap((role) =>
    Array.from({ length: Math.min(role.replicas || 1, NAMED) }, (_, index) => ({ role: role.name, index })),
  );
  const total = roles.reduce((sum, role) => sum + (role.replicas || 1), 0);
  const merged = total > 1 && only === "";

  useEffect(() => {
    const stop = new AbortController();
    let waiting: Row[] = [];
    let told = "";
    let frame: ReturnType<typeof setTimeout> | undefined;
    box.current?.replaceChildren();
    setCount(0);
    setCut(false);
    const draw = () => {
      frame = undefined;
      const view = box.current;
      if (!view) return;
      const fragment = document.createDocumentFragment();
      for (const row of waiting.slice(-KEPT)) fragment.append(typeof row === "string" ? gapRow(row) : lineRow(row, merged));
      waiting = [];
      view.append(fragment);
      const over = view.childElementCount - KEPT;
      for (let i = 0; i < over; i++) view.firstElementChild?.remove();
      if (over > 0) setCut(true);
      setCount(view.childElementCount);
      if (follows.current) view.scrollTop = view.scrollHeight;
    };
    const [role, index] = only.split("/");
    const choice = { role: role ?? "", replica: index === undefined ? undefined : Number(index), attempt };
    void follow(
      job.name,
      choice,
      only ? 1 : total,
      {
        lines(lines, gap) {
          refuse(null);
          if (gap && gap !== told) waiting.push(gap);
          told = gap;
          waiting.push(...lines);
          frame ??= setTimeout(draw, 60);
        },
        link(next) {
          if (next === "live" || next === "ended") refuse(null);
          setLink(next);
        },
        refused: (cause) => refuse(problem(cause)),
        over: () => hasEnded(latest.current) || (attempt > 0 && attempt < latest.current.attempts),
      },
      stop.signal,
    );
    return () => {
      stop.abort();
      clearTimeout(frame);
    };
  }, [job.uid, only, attempt, merged]);

  const scrolled = () => {
    const view = box.current;
    if (!view) return;
    const atEnd = view.scrollHeight - view.scrollTop - view.clientHeight < 24;
    follows.current = atEnd;
    setFollowing(atEnd);
  };
  const toEnd = (yes: boolean) => {
    follows.current = yes;
    setFollowing(yes);
    if (yes && box.current) box.current.scrollTop = box.current.scrollHeight;
  };

  return (
    <section class="log panel" aria-label={words.log}>
      <div class="panel-head">
        <h2>{words.log}</h2>
        {!(link === "connecting" && job.state === JobState.QUEUED) && <Indicator link={link} />}
        <span class="grow" />
        {job.attempts > 1 && (
          <select
            aria-label={words.logAttempt}
            value={attempt}
            data-testid="log-attempt"
            onChange={(event) => setAttempt(Number(event.currentTarget.value))}
          >
            <option value={0}>{words.logLast}</option>
            {Array.from({ length: job.attempts - 1 }, (_, at) => job.attempts - 1 - at).map((each) => (
              <option key={each} value={each}>{words.attempt(each)}</option>
            ))}
          </select>
        )}
        {total > 1 && (
          <select
            aria-label={words.logRole}
            value={only}
            data-testid="log-replica"
            onChange={(event) => setOnly(event.currentTarget.value)}
          >
            <option value="">{words.logAll}</option>
            {replicas.map(({ role, index }) => (
              <option key={`${role}/${index}`} value={`${role}/${index}`}>{`${role}-${index}`}</option>
            ))}
          </select>
        )}
        <label class="check">
          <input type="checkbox" checked={following} onChange={(event) => toEnd(event.currentTarget.checked)} />
          {words.logFollow}
        </label>
      </div>
      {cut && <p class="hint">{words.logCut}</p>}
      <div
        ref={box}
        class={count === 0 && job.state === JobState.QUEUED ? "lines idle" : "lines"}
        role="log"
        aria-live="off"
        aria-label={words.log}
        tabIndex={0}
        data-testid="log"
        onScroll={scrolled}
      />
      {count === 0 && !refused && <p class="hint over">{words.logEmpty}</p>}
      <Trouble problem={refused} />
    </section>
  );
}

function lineRow(line: LogLine, named: boolean): HTMLElement {
  const out = document.createElement("div");
  if (named) {
    const prefix = document.createElement("span");
    prefix.className = `replica tone-${line.replica % 6}`;
    prefix.textContent = `${line.role}-${line.replica} `;
    out.append(prefix);
  }
  out.append(`${plain(line.text)}\n`);
  return out;
}

/** What is missing there, in the server's words. */
function gapRow(gap: string): HTMLElement {
  const out = document.createElement("div");
  out.className = "gap";
  out.textContent = `${gap}\n`;
  return out;
}
