// The limits of an account, or of a user in it, as a small table to type into.
import { useRef, useState } from "preact/hooks";
import { useCluster } from "../cluster.js";
import type { Quota } from "../gen/crater/quota/v1/quota_service_pb.js";
import { t } from "../i18n/index.js";
import { deviceNames, totals } from "../picture.js";
import { amount, JOBS, modelOf, ownerOf, typed } from "../quota.js";
import { quotas } from "../session.js";
import { resourceName } from "./bars.js";
import { Answers, Dialog } from "./dialog.js";
import { useForm } from "./form.js";
import { Trouble } from "./parts.js";

const PLAIN = ["gpu", "cpu", "memory", ...JOBS];
const ENDS = ["guaranteed", "limit"] as const;

export function QuotaEditor({ quota, close, saved }: { quota: Quota; close: () => void; saved: () => void }) {
  const words = t.value.quota;
  const { account, user } = ownerOf(quota.name);
  // Numbers of rows never come back, so that what is typed stays with its row.
  const [rows, setRows] = useState(() => quota.resources.map((_, at) => at));
  const next = useRef(rows.length);
  const sent = useRef<number[]>([]);
  const start: Record<string, string> = { weight: String(quota.weight || 1) };
  quota.resources.forEach((row, at) => {
    start[`${at}.resource`] = row.resource;
    start[`${at}.guaranteed`] = typed(row.resource, row.guaranteed);
    start[`${at}.limit`] = typed(row.resource, row.limit);
  });
  const form = useForm<string>(start, (path) => {
    if (/\bweight$/.test(path)) return "weight";
    const [, index, end] = /resources\[(\d+)\](?:\.(\w+))?$/.exec(path) ?? [];
    const row = sent.current[Number(index)];
    return row === undefined ? undefined : `${row}.${end ?? "resource"}`;
  });
  const cluster = useCluster();
  const models = cluster ? totals(cluster.nodes.values()).map(({ model }) => `gpu/${model}`) : [];
  const devices = cluster ? deviceNames(cluster.nodes.values()) : [];
  const there = quota.resources.map((row) => row.resource).filter((each) => !PLAIN.includes(each));
  const all = [...new Set([...models.filter(modelOf), ...devices, ...there, ...PLAIN])];
  const resourceOf = (row: number) => form.values[`${row}.resource`] ?? "";
  const taken = rows.map(resourceOf);

  const add = () => {
    const row = next.current++;
    form.set(`${row}.resource`, all.find((each) => !taken.includes(each)) ?? "cpu");
    setRows([...rows, row]);
  };
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const flaws = new Map<string, string>();
    const read = (row: number, end: (typeof ENDS)[number]) => {
      const value = amount(resourceOf(row), form.values[`${row}.${end}`] ?? "");
      if (value === null) flaws.set(`${row}.${end}`, t.value.flaw.notANumber);
      return value ?? undefined;
    };
    const resources = rows.map((row) => {
      const [guaranteed, limit] = [read(row, "guaranteed"), read(row, "limit")];
      const resource = resourceOf(row);
      return { resource, ...(guaranteed === undefined ? {} : { guaranteed }), ...(limit === undefined ? {} : { limit }) };
    });
    const weight = Number(form.values["weight"]?.trim() || "1");
    if (!user && !Number.isInteger(weight)) flaws.set("weight", t.value.flaw.notWhole);
    if (!form.point(flaws)) return;
    sent.current = rows;
    const paths = user ? ["resources"] : ["resources", "weight"];
    const done = await form.send((requestId) =>
      quotas.updateQuota({ quota: { name: quota.name, etag: quota.etag, resources, weight: user ? 0 : weight }, updateMask: { paths }, requestId }),
    );
    if (!done) return;
    saved();
    close();
  };
  const input = (row: number, end: (typeof ENDS)[number]) => {
    const control = `${row}.${end}`;
    const jobs = end === "guaranteed" && resourceOf(row).startsWith("jobs.");
    const { value, ...rest } = form.bind(control, `quota-${end}-${resourceOf(row)}`);
    return (
      <td>
        <input
          {...rest}
          value={value ?? ""}
          disabled={jobs}
          inputMode="decimal"
          autocomplete="off"
          aria-label={`${resourceName(resourceOf(row))}: ${words.columns[end]}`}
          placeholder={jobs ? "–" : words.none[end]}
        />
        <p class="wrong" id={rest["aria-describedby"]}>{form.errors.get(control)}</p>
      </td>
    );
  };
  return (
    <Dialog title={user ? words.editUser(user, account) : words.edit(account)} close={close} testid="quota-editor">
      <form class="stack" onSubmit={send}>
        <p class="quiet">{user ? words.userMeans : words.means}</p>
        <table class="small editor">
          <thead>
            <tr>
              <th scope="col">{words.columns.resource}</th>
              <th scope="col">{words.columns.guaranteed}</th>
              <th scope="col">{words.columns.limit}</th>
              <th scope="col"><span class="unseen">{words.columns.remove}</span></th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => {
              const { value, ...rest } = form.bind(`${row}.resource`);
              return (
                <tr key={row}>
                  <td>
                    <select {...rest} value={value ?? ""} aria-label={words.columns.resource}>
                      {all.filter((each) => each === value || !taken.includes(each)).map((each) => (
                        <option key={each} value={each}>{each === "cpu" || each === "memory" ? words.units[each] : resourceName(each)}</option>
                      ))}
                    </select>
                    <p class="wrong" id={rest["aria-describedby"]}>{form.errors.get(`${row}.resource`)}</p>
                  </td>
                  {ENDS.map((end) => input(row, end))}
                  <td>
                    <button
                      type="button"
                      class="plain"
                      aria-label={`${words.columns.remove}: ${resourceName(resourceOf(row))}`}
                      onClick={() => setRows(rows.filter((each) => each !== row))}
                    >
                      ✕
                    </button>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
        {taken.length < all.length && (
          <button type="button" class="start" data-testid="quota-add" onClick={add}>{words.add}</button>
        )}
        {!user && form.field("weight", words.weight, <input {...form.bind("weight", "quota-weight")} inputMode="numeric" autocomplete="off" />, words.weightHint)}
        <Trouble problem={form.refused} />
        <Answers close={close} busy={form.busy} label={t.value.parts.save} testid="quota-send" />
      </form>
    </Dialog>
  );
}
