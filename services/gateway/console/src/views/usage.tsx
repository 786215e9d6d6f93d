// What the job used, over time: a bar a span, as high as what it held.
import { useEffect, useState } from "preact/hooks";
import { bytes, clock, full, ms, span as spanOf, thousandths } from "../format.js";
import type { Job, UsageSpan } from "../gen/crater/job/v1/resources_pb.js";
import { locale, t } from "../i18n/index.js";
import { now } from "../now.js";
import { problem, type Problem } from "../problem.js";
import { jobs } from "../session.js";
import { backoff } from "../stream.js";
import { hours, layOut } from "../usage.js";
import { hasEnded, Trouble } from "./parts.js";

const PAGE = 1_000;
const PAGES = 5;

interface Told {
  spans: UsageSpan[];
  /** Of all spans, in thousandths of a GPU times seconds. */
  total: number;
  /** Whether all spans are here. */
  complete: boolean;
}

export function Usage({ job }: { job: Job }) {
  const words = t.value.usage;
  const [told, setTold] = useState<Told | null>(null);
  const [refused, refuse] = useState<Problem | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    void (async () => {
      for (let attempt = 0; !stop.signal.aborted; attempt++) {
        try {
          setTold(await all(job.name, stop.signal));
          return refuse(null);
        } catch (cause) {
          if (!stop.signal.aborted) refuse(problem(cause));
          await backoff(attempt, stop.signal);
        }
      }
    })();
    return () => stop.abort();
  }, [job.name, job.etag]);

  if (!told) {
    return (
      <section class="panel usage" aria-label={words.heading} aria-busy={refused === null}>
        <h2>{words.heading}</h2>
        {refused ? <Trouble problem={refused} /> : <p class="quiet">{t.value.parts.loading}</p>}
      </section>
    );
  }
  const present = hasEnded(job) ? (ms(job.endTime) ?? now.value) : now.value;
  // The bars' own sum grows while one looks; the server knows more than is shown of a job with very many spans.
  const shown = told.spans.length > 0 ? layOut(told.spans, present).bars.reduce((sum, bar) => sum + bar.gpuHours, 0) : 0;
  const total = Math.max(shown, told.complete ? 0 : told.total / 1000 / 3600);
  return (
    <section class="panel usage" aria-label={words.heading}>
      <div class="panel-head">
        <h2>{words.heading}</h2>
        <span class="grow" />
        <b data-testid="gpu-hours">{words.gpuHours(hours(total))}</b>
      </div>
      {told.spans.length === 0 ? <p class="quiet">{words.none}</p> : <Line spans={told.spans} present={present} />}
    </section>
  );
}

function Line({ spans, present }: { spans: UsageSpan[]; present: number }) {
  const words = t.value.usage;
  const { bars, from, until, most } = layOut(spans, present);
  const when = (time: number) => clock({ seconds: BigInt(Math.floor(time / 1000)), nanos: 0 } as UsageSpan["startTime"], locale.value);
  return (
    <>
      <div class="spans" aria-hidden="true">
        {bars.map(({ span, left, width, height }, index) => (
          <i
            key={index}
            class={outcomeTone(span.outcome)}
            style={{ left: `${left * 100}%`, width: `max(2px, ${width * 100}%)`, height: `${Math.max(12, height * 100)}%` }}
          />
        ))}
        {most > 0 && <span class="most">{words.most(thousandths(most * 1000))}</span>}
      </div>
      <div class="axis" aria-hidden="true">
        <span>{when(from)}</span>
        <span>{when(until)}</span>
      </div>
      <div class="tall" tabIndex={0} role="region" aria-label={words.spans}>
        <table class="small">
          <thead>
            <tr>
              <th scope="col">{words.attempt}</th>
              <th scope="col">{words.from}</th>
              <th scope="col" class="figure">{words.lasted}</th>
              <th scope="col" class="figure">{words.replicas}</th>
              <th scope="col" class="figure">GPU</th>
              <th scope="col" class="figure">{words.cpuMemory}</th>
              <th scope="col" class="figure">{words.hours}</th>
              <th scope="col">{words.outcome}</th>
            </tr>
          </thead>
          <tbody data-testid="usage-spans">
            {bars.map(({ span, gpuHours }, index) => (
              <tr key={index}>
                <td>{span.attempt}</td>
                <td title={full(span.startTime, locale.value)}>{clock(span.startTime, locale.value)}</td>
                <td class="figure">{spanOf(ms(span.startTime), ms(span.endTime) ?? present)}</td>
                <td class="figure">{span.replicas}</td>
                <td class="figure">{thousandths(span.resources?.gpuMillis ?? 0n)}</td>
                <td class="figure quiet">
                  {thousandths(span.resources?.cpuMillis ?? 0n)} · {bytes(span.resources?.memoryBytes ?? 0n)}
                </td>
                <td class="figure">{hours(gpuHours)}</td>
                <td title={span.nodes.join(", ")}>{outcomeWord(span.outcome)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

/** The server's codes in the reader's words; a code that is not known yet as it is. */
function outcomeWord(outcome: string): string {
  const words: Record<string, string> = t.value.usage.outcomes;
  return outcome === "" ? t.value.usage.goesOn : (words[outcome] ?? outcome);
}

const outcomeTone = (outcome: string) =>
  outcome === "" ? "running" : outcome === "Succeeded" ? "succeeded" : outcome === "Failed" ? "failed" : "queued";

async function all(parent: string, signal: AbortSignal): Promise<Told> {
  const spans: UsageSpan[] = [];
  let [pageToken, total] = ["", 0];
  for (let page = 0; page < PAGES; page++) {
    const answer = await jobs.listJobUsage({ parent, pageSize: PAGE, pageToken }, { signal });
    spans.push(...answer.spans);
    total = Number(answer.totalGpuMilliSeconds);
    pageToken = answer.nextPageToken;
    if (!pageToken) break;
  }
  return { spans, total, complete: pageToken === "" };
}
