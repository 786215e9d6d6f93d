// The cluster in one row: what each model has left, and a cell a GPU.
import { cluster, stale, totals } from "../cluster.js";
import { thousandths } from "../format.js";
import type { Gpu, Node } from "../gen/crater/scheduling/v1/scheduling_service_pb.js";
import { t } from "../i18n/index.js";

/** More nodes than this are counted, not drawn. */
const DRAWN = 48;

export function ClusterStrip() {
  const answer = cluster.value;
  const words = t.value.cluster;
  if (!answer) return <section class="strip" aria-label={words.heading} aria-busy="true" />;
  const hidden = answer.nodes.length - DRAWN;
  return (
    <section class={stale.value ? "strip stale" : "strip"} aria-label={words.heading}>
      <div class="totals">
        {totals(answer).map(({ model, free, total }) => (
          <span key={model}>
            <b>{model || "GPU"}</b> {t.value.submit.free(thousandths(free), thousandths(total))}
          </span>
        ))}
        <span class="quiet">
          {words.running(answer.runningJobs)} · {words.waiting(answer.waitingJobs)}
        </span>
        {stale.value && <span role="status">{words.stale}</span>}
      </div>
      <ul class="nodes">
        {answer.nodes.slice(0, DRAWN).map((node) => <NodeCells key={node.name} node={node} />)}
        {hidden > 0 && <li class="quiet">{words.more(hidden)}</li>}
        {answer.nodes.length === 0 && <li class="quiet">{words.none}</li>}
      </ul>
    </section>
  );
}

function NodeCells({ node }: { node: Node }) {
  const words = t.value.cluster;
  const title = [node.name, node.gpuModel, node.schedulable ? "" : node.message || words.cordoned];
  return (
    <li class={node.schedulable ? "node" : "node closed"} title={title.filter(Boolean).join(" · ")}>
      <span class="name">{node.name}</span>
      {node.gpus.length === 0 ? (
        <span class="quiet">{words.noGpus}</span>
      ) : (
        <span class="cells">{node.gpus.map((gpu) => <Cell key={gpu.index} gpu={gpu} />)}</span>
      )}
    </li>
  );
}

function Cell({ gpu }: { gpu: Gpu }) {
  const words = t.value.cluster;
  const percent = Math.round(gpu.heldMillis / 10);
  const kind = gpu.heldMillis <= 0 ? "free" : gpu.jobs.length > 0 ? "yours" : "others";
  const text = [words.gpu(gpu.index, percent), ...gpu.jobs].join("\n");
  return (
    <span class={`cell ${kind}`} role="img" aria-label={text} title={text}>
      <i style={{ height: `${Math.min(100, percent)}%` }} />
    </span>
  );
}
