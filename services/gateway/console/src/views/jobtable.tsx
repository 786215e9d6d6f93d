// Jobs in rows, as the list and the overview show them.
import { clock, gpuShape, ms, runningSince, span } from "../format.js";
import type { Job } from "../gen/crater/job/v1/resources_pb.js";
import { locale, t } from "../i18n/index.js";
import type { Order } from "../jobfilter.js";
import { now } from "../now.js";
import { accountOf, go, idOf, jobPath } from "../route.js";
import { Badge, className, hasEnded, stateName } from "./parts.js";

interface Props {
  rows: Job[];
  /** Absent: the order is fixed. */
  order?: Order;
  reorder?: (order: Order) => void;
  /** Leaves out what goes without saying among one's own jobs. */
  brief?: boolean;
}

export function JobTable({ rows, order, reorder, brief }: Props) {
  const words = t.value.jobs;
  const head = (by: Order["by"], label: string) => (
    <Sortable by={by} label={label} order={order} reorder={reorder} />
  );
  return (
    <div class="scroll">
      <table class="list">
        <thead>
          <tr>
            <th scope="col">{words.name}</th>
            <th scope="col">{words.state}</th>
            <th scope="col">{words.account}</th>
            {!brief && <th scope="col">{words.class}</th>}
            {!brief && head("priority", words.priority)}
            <th scope="col" class="figure" title={words.gpusHint}>{words.gpus}</th>
            <th scope="col">{words.reason}</th>
            {head("end_time", words.duration)}
            {head("create_time", words.age)}
            {!brief && <th scope="col">{words.creator}</th>}
          </tr>
        </thead>
        <tbody>{rows.map((job) => <Row key={job.name} job={job} brief={brief ?? false} />)}</tbody>
      </table>
    </div>
  );
}

function Sortable(props: { by: Order["by"]; label: string; order: Order | undefined; reorder: Props["reorder"] }) {
  const { by, label, order, reorder } = props;
  if (!order || !reorder) return <th scope="col" class="figure">{label}</th>;
  const chosen = order.by === by;
  return (
    <th scope="col" class="figure" aria-sort={!chosen ? "none" : order.down ? "descending" : "ascending"}>
      <button type="button" class="sort" title={t.value.jobs.orders[by]} onClick={() => reorder({ by, down: chosen ? !order.down : true })}>
        {label} <span aria-hidden="true">{chosen ? (order.down ? "↓" : "↑") : "↕"}</span>
      </button>
    </th>
  );
}

function Row({ job, brief }: { job: Job; brief: boolean }) {
  const waits = !hasEnded(job) && stateName(job) !== "running";
  const told = waits || stateName(job) === "failed";
  // A click anywhere in the row opens the job; the keyboard has the link.
  const open = (event: MouseEvent) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target?.closest("a") && !getSelection()?.toString()) go(jobPath(job.name));
  };
  const priority = job.spec?.priority ?? 0;
  return (
    <tr data-testid={`job-row-${idOf(job.name)}`} data-state={stateName(job)} onClick={open}>
      <td class="name">
        <a href={jobPath(job.name)}>{idOf(job.name)}</a>
      </td>
      <td><Badge job={job} /></td>
      <td>{accountOf(job.name)}</td>
      {!brief && <td class="quiet">{className(job.spec?.serviceClass)}</td>}
      {!brief && <td class={priority ? "figure" : "figure quiet"}>{priority}</td>}
      <td class="figure">{gpuShape(job)}</td>
      <td class="reason" title={job.message}>{told ? job.message || job.reason : ""}</td>
      <td class="figure"><Ran job={job} /></td>
      <td class="figure quiet" title={clock(job.createTime, locale.value)}>{span(ms(job.createTime), now.value)}</td>
      {!brief && <td class="quiet">{idOf(job.creator)}</td>}
    </tr>
  );
}

function Ran({ job }: { job: Job }) {
  const start = runningSince(job);
  if (start === undefined || stateName(job) === "queued" || stateName(job) === "starting") return <>–</>;
  return <>{span(start, ms(job.endTime) ?? now.value)}</>;
}
