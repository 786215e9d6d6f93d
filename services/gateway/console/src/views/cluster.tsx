// The cluster's map with its filters, and the node that is looked at.
import { computed, signal, type ReadonlySignal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useCluster } from "../cluster.js";
import { watch, type Jobs } from "../feed.js";
import { thousandths } from "../format.js";
import type { Gpu, Node } from "../gen/crater/scheduling/v1/scheduling_service_pb.js";
import { language, t } from "../i18n/index.js";
import { ACTIVE } from "../jobfilter.js";
import { condition, fits, freeMillis, fromQuery, GROUPS, holder, toQuery, where, type Eye, type GroupBy, type Seek } from "../map.js";
import { totals, type Cluster } from "../picture.js";
import { accountOf, go, idOf, jobPath, note, query } from "../route.js";
import { me } from "../session.js";
import { Board, type Words } from "./board.js";
import { Choice, Typed } from "./jobs.js";
import { NodePanel } from "./node.js";
import { useTitle } from "./parts.js";

/** So long the map waits to know whose jobs are the reader's own. */
const EYE_MS = 700;

export function ClusterView() {
  const words = t.value.map;
  const nodesKnown = useCluster();
  const seek = useMemo(() => fromQuery(query.value), [query.value]);
  const eye = useEye();
  const known = eye && nodesKnown;
  useTitle(words.heading);
  const want = (change: Partial<Seek>) => note(toQuery({ ...fromQuery(query.value), ...change }));
  const nodes = useMemo(() => (known ? [...known.nodes.values()].filter((node) => fits(node, seek)) : []), [known, seek]);
  const chosen = known?.nodes.get(seek.node);
  return (
    <section class="cluster" aria-busy={known === null}>
      <div class="tools">
        <h1>{words.heading}</h1>
        {known && (
          <span class="quiet" role="status" data-testid="map-count">
            {words.shown(nodes.length, known.nodes.size)} · {words.jobs(known.runningJobs, known.waitingJobs)}
          </span>
        )}
        <span class="grow" />
        <Legend />
      </div>
      {known && <Filters seek={seek} want={want} known={known} />}
      {known === null ? (
        <p class="empty" role="status">{t.value.parts.loading}</p>
      ) : nodes.length === 0 ? (
        <p class="empty">{known.nodes.size === 0 ? words.none : words.noneMatch}</p>
      ) : null}
      <div class={chosen ? "with-panel" : ""}>
        {eye && (
          <MapBoard nodes={nodes} seek={seek} eye={eye} choose={(node) => want({ node: node.name === seek.node ? "" : node.name })} />
        )}
        {eye && chosen && <NodePanel key={chosen.name} node={chosen} eye={eye} close={() => want({ node: "" })} />}
      </div>
    </section>
  );
}

/**
 * Whose jobs are the reader's own: a stream of the reader's jobs tells. Null until it did, so that nothing is drawn in one
 * colour and at once in another; what takes long is not waited for.
 */
export function useEye(): Eye | null {
  const user = me.value?.user.name ?? "";
  const [late, setLate] = useState(false);
  const stream = useMemo(() => signal<ReadonlySignal<Jobs> | null>(null), [user]);
  useEffect(() => {
    const stop = new AbortController();
    stream.value = watch({ parent: "accounts/-", filter: { creators: [user], states: ACTIVE } }, stop.signal);
    const timer = setTimeout(() => setLate(true), EYE_MS);
    return () => (clearTimeout(timer), stop.abort());
  }, [user]);
  // The same set stays the same object while no job comes or goes: colours are not drawn anew for nothing.
  const names = useMemo(
    () =>
      computed(() => {
        const all = stream.value?.value;
        return all ? [...all.values()].filter((job) => job.creator === user).map((job) => job.name).sort().join(" ") : null;
      }),
    [user],
  );
  const accounts = me.value?.memberships.map((each) => accountOf(each.account)).join(" ") ?? "";
  const jobs = names.value;
  return useMemo(
    () => (jobs === null && !late ? null : { jobs: new Set(jobs?.split(" ")), accounts: new Set(accounts.split(" ")) }),
    [jobs, accounts, late],
  );
}

function Filters({ seek, want, known }: { seek: Seek; want: (change: Partial<Seek>) => void; known: Cluster }) {
  const words = t.value.map;
  const models = totals(known.nodes.values());
  const bare = [...known.nodes.values()].some((node) => node.gpus.length === 0);
  const groups = GROUPS.filter((each) => each === "model" || each === "none" || [...known.nodes.values()].some((node) => where(node, each)));
  const accounts = me.value?.memberships.map((each) => accountOf(each.account)) ?? [];
  const box = (key: "free" | "closed", label: string) => (
    <label class="check">
      <input type="checkbox" checked={seek[key]} data-testid={`map-${key}`} onChange={(event) => want({ [key]: event.currentTarget.checked })} />
      {label}
    </label>
  );
  return (
    <div class="filters" role="search" aria-label={words.filter}>
      <Choice label={words.group} value={seek.group} testid="map-group" choose={(group) => want({ group: group as GroupBy })}>
        {groups.map((each) => <option key={each} value={each}>{words.groups[each]}</option>)}
      </Choice>
      <Choice label={words.model} value={seek.model} testid="map-model" choose={(model) => want({ model })}>
        <option value="">{words.anyModel}</option>
        {models.map(({ model, free, total }) => (
          <option key={model} value={model}>{`${model} · ${t.value.submit.free(thousandths(free), thousandths(total))}`}</option>
        ))}
        {bare && <option value="-">{words.noGpus}</option>}
      </Choice>
      <Typed label={words.byName} value={seek.name} testid="map-name" type={(text) => want({ name: text.trim() })} />
      <Typed label={words.byJob} value={seek.job} testid="map-job" type={(text) => want({ job: text.trim() })} />
      <Choice label={words.account} value={seek.account} testid="map-account" choose={(account) => want({ account })}>
        <option value="">{t.value.jobs.anyAccount}</option>
        {accounts.map((each) => <option key={each} value={each}>{each}</option>)}
      </Choice>
      {box("free", words.freeOnly)}
      {box("closed", words.closedOnly)}
    </div>
  );
}

function Legend() {
  const words = t.value.map;
  return (
    <ul class="legend">
      {(["mine", "ours", "theirs", "free"] as const).map((each) => (
        <li key={each}><i class={`swatch ${each}`} aria-hidden="true" /> {words.holder[each]}</li>
      ))}
      <li><i class="swatch mine part" aria-hidden="true" /> {words.share}</li>
      {(["cordoned", "draining", "down"] as const).map((each) => (
        <li key={each}><i class={`swatch node ${each}`} aria-hidden="true" /> {words.condition[each]}</li>
      ))}
    </ul>
  );
}

interface Over { node: Node; gpu: Gpu | undefined; left: number; top: number }

function MapBoard(props: { nodes: Node[]; seek: Seek; eye: Eye; choose: (node: Node) => void }) {
  const root = useRef<HTMLDivElement>(null);
  const board = useRef<Board | null>(null);
  const [over, setOver] = useState<Over | null>(null);
  const latest = useRef(props);
  latest.current = props;
  useEffect(() => {
    const element = root.current;
    if (!element) return;
    board.current = new Board(element, {
      over(at) {
        if (!at) return setOver(null);
        const [box, frame] = [at.element.getBoundingClientRect(), element.getBoundingClientRect()];
        setOver({ node: at.node, gpu: at.gpu, left: Math.max(0, Math.min(box.left - frame.left, frame.width - TIP_PX)), top: box.bottom - frame.top });
      },
      choose(node, gpu) {
        const [job] = gpu?.jobs ?? [];
        if (job) go(jobPath(job));
        else latest.current.choose(node);
      },
    });
  }, []);
  const { nodes, seek, eye } = props;
  const version = useMemo(() => ({ of: eye, text: `${language.value}${++versions}` }), [eye, language.value]);
  useEffect(() => {
    board.current?.show(nodes, seek, eye, sayings(), version.text);
  }, [nodes, seek, eye, version]);
  return (
    <div class="map">
      <div ref={root} role="listbox" aria-label={t.value.map.heading} data-testid="map" hidden={nodes.length === 0} />
      {over && <Tip over={over} eye={eye} />}
    </div>
  );
}

let versions = 0;
/** As wide as the words under the pointer get. */
const TIP_PX = 320;

function sayings(): Words {
  const words = t.value.map;
  return {
    node: (node) => [node.name, node.gpuModel, node.gpus.length > 0 ? words.freeOf(thousandths(freeMillis(node)), node.gpus.length) : words.noGpus, condition(node) === "open" ? "" : words.condition[condition(node)]].filter(Boolean).join(", "),
    group: ({ key, nodes }, by) => {
      const gpus = nodes.reduce((sum, node) => sum + node.gpus.length, 0);
      const free = nodes.reduce((sum, node) => sum + freeMillis(node), 0);
      const name = key || (by === "model" ? words.noGpus : by === "none" ? words.all : words.nowhere);
      return { name, count: `${words.nodes(nodes.length)}${gpus > 0 ? ` · ${words.freeOf(thousandths(free), gpus)}` : ""}` };
    },
  };
}

/** What is under the pointer or the focus, in words. */
function Tip({ over, eye }: { over: Over; eye: Eye }) {
  const words = t.value.map;
  const { node, gpu } = over;
  const state = condition(node);
  const jobs = gpu ? gpu.jobs : [...new Set(node.gpus.flatMap((each) => each.jobs))];
  return (
    <div class="tip" aria-hidden="true" data-testid="map-tip" style={{ left: `${over.left}px`, top: `${over.top + 6}px` }}>
      <b>{node.name}</b> <span class="quiet">{[node.gpuModel, where(node, "zone"), where(node, "rack")].filter(Boolean).join(" · ")}</span>
      {state !== "open" && <p class={`condition ${state}`}>{words.condition[state]}{node.message && `: ${node.message}`}</p>}
      {gpu ? (
        <p>{words.gpu(gpu.index)}: {gpu.heldMillis > 0 ? `${words.holder[holder(gpu, eye)]}, ${gpu.heldMillis / 10}%` : words.holder.free}</p>
      ) : (
        <p>{node.gpus.length > 0 ? words.freeOf(thousandths(freeMillis(node)), node.gpus.length) : words.noGpus}</p>
      )}
      {jobs.slice(0, 6).map((job) => <p key={job} class="job-line">{accountOf(job)}/{idOf(job)}</p>)}
      {jobs.length > 6 && <p class="quiet">+{jobs.length - 6}</p>}
    </div>
  );
}
