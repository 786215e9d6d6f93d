// The live log. Lines go to the page without the framework: a job may write thousands a second.
import { useEffect, useRef, useState } from "preact/hooks";
import { JobState, type Job, type LogLine } from "../gen/crater/job/v1/resources_pb.js";
import { t } from "../i18n/index.js";
import type { Link } from "../feed.js";
import { plain } from "../lines.js";
import { follow } from "../logs.js";
import { problem, type Problem } from "../problem.js";
import { hasEnded, Indicator, Trouble } from "./parts.js";

/** More lines than this push the oldest out. */
const KEPT = 5_000;

export function LogView({ job }: { job: Job }) {
  const words = t.value.job;
  const box = useRef<HTMLDivElement>(null);
  const [link, setLink] = useState<Link | "ended">("connecting");
  const [count, setCount] = useState(0);
  const [cut, setCut] = useState(false);
  const [following, setFollowing] = useState(true);
  const [refused, refuse] = useState<Problem | null>(null);
  const [only, setOnly] = useState("");
  const latest = useRef(job);
  latest.current = job;
  const follows = useRef(true);

  const roles = job.spec?.roles ?? [];
  const replicas = roles.flatMap((role) =>
    Array.from({ length: Math.min(role.replicas || 1, 200) }, (_, index) => `${role.name}-${index}`),
  );
  const total = roles.reduce((sum, role) => sum + (role.replicas || 1), 0);
  const several = total > 1;

  useEffect(() => {
    const stop = new AbortController();
    let waiting: LogLine[] = [];
    let frame: ReturnType<typeof setTimeout> | undefined;
    const draw = () => {
      frame = undefined;
      const view = box.current;
      if (!view) return;
      const fragment = document.createDocumentFragment();
      for (const line of waiting.slice(-KEPT)) fragment.append(row(line, several));
      waiting = [];
      view.append(fragment);
      const over = view.childElementCount - KEPT;
      for (let i = 0; i < over; i++) view.firstElementChild?.remove();
      if (over > 0) setCut(true);
      setCount(view.childElementCount);
      if (follows.current) view.scrollTop = view.scrollHeight;
    };
    void follow(
      job.name,
      total,
      {
        lines(lines) {
          refuse(null);
          waiting.push(...lines);
          frame ??= setTimeout(draw, 60);
        },
        link(next) {
          if (next === "live" || next === "ended") refuse(null);
          setLink(next);
        },
        refused: (cause) => refuse(problem(cause)),
        over: () => hasEnded(latest.current),
      },
      stop.signal,
    );
    return () => {
      stop.abort();
      clearTimeout(frame);
    };
  }, [job.uid]);

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
  useEffect(() => {
    for (const line of box.current?.children ?? []) hide(line as HTMLElement, only);
    if (follows.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [only, count]);

  return (
    <section class="log panel" aria-label={words.log}>
      <div class="panel-head">
        <h2>{words.log}</h2>
        {!(link === "connecting" && job.state === JobState.QUEUED) && <Indicator link={link} />}
        <span class="grow" />
        {several && (
          <select aria-label={words.logRole} value={only} onChange={(event) => setOnly(event.currentTarget.value)}>
            <option value="">{words.logAll}</option>
            {replicas.map((replica) => <option key={replica} value={replica}>{replica}</option>)}
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
        class={several ? "lines several" : "lines"}
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

function row(line: LogLine, several: boolean): HTMLElement {
  const out = document.createElement("div");
  const replica = `${line.role}-${line.replica}`;
  out.dataset.replica = replica;
  if (several) {
    const prefix = document.createElement("span");
    prefix.className = `replica tone-${line.replica % 6}`;
    prefix.textContent = `${replica} `;
    out.append(prefix);
  }
  out.append(`${plain(line.text)}\n`);
  return out;
}

function hide(line: HTMLElement, only: string) {
  line.hidden = only !== "" && line.dataset.replica !== only;
}
