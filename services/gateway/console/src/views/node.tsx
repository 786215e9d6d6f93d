// One node of the map: what it has, who holds it, and what an admin may do with it.
import { useEffect, useState } from "preact/hooks";
import { useAct } from "../act.js";
import { bytes, thousandths } from "../format.js";
import type { Node } from "../gen/crater/scheduling/v1/scheduling_service_pb.js";
import { t } from "../i18n/index.js";
import { condition, holder, type Eye } from "../map.js";
import { deviceNames } from "../picture.js";
import { problem, type Problem } from "../problem.js";
import { accountOf, idOf, jobPath } from "../route.js";
import { isAdmin, scheduling } from "../session.js";
import { Answers, Dialog } from "./dialog.js";
import { byLastWord, useForm } from "./form.js";
import { Trouble } from "./parts.js";

export function NodePanel({ node, eye, close }: { node: Node; eye: Eye; close: () => void }) {
  const words = t.value.map;
  const state = condition(node);
  const places = Object.entries(node.topology);
  return (
    <aside class="panel node-panel" aria-label={words.nodeHeading(node.name)} data-testid="node-panel">
      <div class="panel-head">
        <h2>{node.name}</h2>
        <span class={`condition ${state}`} data-testid="node-condition">{words.condition[state]}</span>
        <span class="grow" />
        <button type="button" class="plain" aria-label={t.value.parts.close} onClick={close}>✕</button>
      </div>
      {node.message && <p class="quiet">{node.message}</p>}
      <Amounts node={node} />
      {node.gpus.length > 0 && (
        <ol class="gpus">
          {node.gpus.map((gpu) => {
            const who = holder(gpu, eye);
            return (
              <li key={gpu.index}>
                <i
                  class={`swatch ${who} ${gpu.heldMillis > 0 && gpu.heldMillis < 1000 ? "part" : ""}`}
                  style={{ "--fill": gpu.heldMillis < 1000 ? `${gpu.heldMillis / 10}%` : undefined }}
                  aria-hidden="true"
                />
                <span class="figure">{gpu.index}</span>
                <span>
                  {gpu.jobs.map((job) => (
                    <a key={job} href={jobPath(job)}>{accountOf(job)}/{idOf(job)} </a>
                  ))}
                  {gpu.jobs.length === 0 && <span class="quiet">{words.holder[who]}</span>}
                  {gpu.heldMillis > 0 && gpu.heldMillis < 1000 && <span class="quiet"> {gpu.heldMillis / 10}%</span>}
                </span>
              </li>
            );
          })}
        </ol>
      )}
      {places.length > 0 && (
        <dl class="facts">
          {places.map(([key, value]) => (
            <div key={key}><dt title={key}>{key.slice(key.lastIndexOf("/") + 1)}</dt><dd>{value}</dd></div>
          ))}
        </dl>
      )}
      {isAdmin() && <Rule node={node} />}
    </aside>
  );
}

function Amounts({ node }: { node: Node }) {
  const words = t.value.map;
  const rows = [
    ["GPU", "gpuMillis", thousandths],
    [words.cpu, "cpuMillis", thousandths],
    [words.memory, "memoryBytes", bytes],
  ] as const;
  return (
    <table class="small">
      <thead>
        <tr>
          <th scope="col"><span class="unseen">{words.resource}</span></th>
          <th scope="col" class="figure">{words.held}</th>
          <th scope="col" class="figure">{words.others}</th>
          <th scope="col" class="figure">{words.has}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(([label, key, say]) => (
          <tr key={key}>
            <th scope="row">{label} {key === "gpuMillis" && <span class="quiet">{node.gpuModel}</span>}</th>
            <td class="figure">{say(node.held?.[key] ?? 0n)}</td>
            <td class="figure quiet">{say(node.others?.[key] ?? 0n)}</td>
            <td class="figure">{say(node.allocatable?.[key] ?? 0n)}</td>
          </tr>
        ))}
        {deviceNames([node]).map((name) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td class="figure">{String(node.held?.devices[name] ?? 0n)}</td>
            <td class="figure quiet">{String(node.others?.devices[name] ?? 0n)}</td>
            <td class="figure">{String(node.allocatable?.devices[name] ?? 0n)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Rule({ node }: { node: Node }) {
  const words = t.value.map;
  const [asking, ask] = useState<"cordon" | "drain" | null>(null);
  const act = useAct();
  const state = condition(node);
  const closed = state === "cordoned" || state === "draining";
  return (
    <>
      <div class="actions">
        {closed ? (
          <button
            type="button"
            disabled={act.busy}
            data-testid="uncordon"
            onClick={() => void act.run(() => scheduling.uncordonNode({ node: node.name }))}
          >
            {words.uncordon}
          </button>
        ) : (
          <button type="button" data-testid="cordon" onClick={() => ask("cordon")}>{words.cordon}</button>
        )}
        {state !== "draining" && (
          <button type="button" class="danger" data-testid="drain" onClick={() => ask("drain")}>{words.drain}</button>
        )}
      </div>
      <Trouble problem={act.refused} />
      {asking && <Close node={node} how={asking} close={() => ask(null)} />}
    </>
  );
}

/** Asks for the reason; before a drain it shows which jobs would move, as the server says. */
function Close({ node, how, close }: { node: Node; how: "cordon" | "drain"; close: () => void }) {
  const words = t.value.map;
  const form = useForm({ reason: "" }, byLastWord("reason"));
  const [jobs, setJobs] = useState<string[] | null>(null);
  const [refused, refuse] = useState<Problem | null>(null);
  const drain = how === "drain";
  useEffect(() => {
    if (!drain) return;
    const stop = new AbortController();
    scheduling
      .drainNode({ node: node.name, validateOnly: true }, { signal: stop.signal })
      .then((answer) => setJobs(answer.jobs))
      .catch((cause: unknown) => !stop.signal.aborted && refuse(problem(cause)));
    return () => stop.abort();
  }, [node.name, drain, node]);
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const request = { node: node.name, reason: form.values.reason.trim() };
    if (await form.send(() => (drain ? scheduling.drainNode(request) : scheduling.cordonNode(request)))) close();
  };
  return (
    <Dialog title={drain ? words.drainHeading(node.name) : words.cordonHeading(node.name)} close={close} testid="close-node">
      <form class="stack" onSubmit={send}>
        <p>{drain ? words.drainMeans : words.cordonMeans}</p>
        {drain && jobs && (
          <div data-testid="drain-jobs">
            <p><b>{jobs.length === 0 ? words.drainNone : words.drainJobs(jobs.length)}</b></p>
            <ul class="moves">{jobs.map((job) => <li key={job}>{accountOf(job)}/{idOf(job)}</li>)}</ul>
          </div>
        )}
        {drain && !jobs && !refused && <p class="quiet" role="status">{t.value.parts.loading}</p>}
        {form.field("reason", words.reason, <input {...form.bind("reason", "close-reason")} autocomplete="off" />, words.reasonHint)}
        <Trouble problem={refused ?? form.refused} />
        <Answers
          close={close}
          busy={form.busy}
          off={drain && jobs === null}
          label={drain ? words.drain : words.cordon}
          danger={drain}
          testid="close-send"
        />
      </form>
    </Dialog>
  );
}
