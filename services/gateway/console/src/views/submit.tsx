// The form for a new job. What the server refuses is shown at the control it was typed into.
import { effect, signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { useCluster } from "../cluster.js";
import { CONTROLS, controlOf, EMPTY, request, type Control, type Draft } from "../draft.js";
import { thousandths } from "../format.js";
import { t } from "../i18n/index.js";
import { deviceNames, totals } from "../picture.js";
import { problem, unclear, type Problem } from "../problem.js";
import { accountOf, go, jobPath } from "../route.js";
import { uuid } from "../rpc.js";
import type { SimulateResponse } from "../gen/crater/scheduling/v1/scheduling_service_pb.js";
import { jobs, me, scheduling } from "../session.js";
import { Trouble } from "./parts.js";
import { Rehearsal } from "./remedies.js";

/** Kept while the reader looks at something else. */
const draft = signal<Draft>(EMPTY);
/** One intent has one request_id: pressing Submit again after a lost answer creates nothing twice. */
let intent: { of: string; id: string } | null = null;

// With the session ends what was typed: the next reader of this page starts afresh.
effect(() => {
  if (me.value) return;
  draft.value = EMPTY;
  intent = null;
});

export function SubmitView() {
  const words = t.value.submit;
  const [busy, setBusy] = useState<"check" | "send" | null>(null);
  const [refused, refuse] = useState<Problem | null>(null);
  const [errors, setErrors] = useState<ReadonlyMap<Control, string>>(new Map());
  const [good, setGood] = useState(false);
  const [rehearsed, setRehearsed] = useState<SimulateResponse | null>(null);
  useEffect(() => {
    document.title = `${words.heading} · ${t.value.title}`;
  }, [words]);

  const accounts = me.value?.memberships.map((membership) => accountOf(membership.account)) ?? [];
  const cluster = useCluster();
  const models = cluster ? totals(cluster.nodes.values()) : [];
  const offered = cluster ? deviceNames(cluster.nodes.values()) : [];
  const typed = draft.value;
  // What was never typed follows what is there: the first account, and no GPUs where there are none.
  const values: Draft = {
    ...typed,
    account: typed.account || accountOf(me.value?.acting ?? "") || (accounts[0] ?? ""),
    gpus: typed === EMPTY && cluster && models.length === 0 ? "0" : typed.gpus,
  };

  const type = (control: Control, text: string) => {
    draft.value = { ...values, [control]: text };
    setGood(false);
    setRehearsed(null);
    if (errors.has(control)) {
      const rest = new Map(errors);
      rest.delete(control);
      setErrors(rest);
    }
  };

  const point = (found: Map<Control, string>) => {
    setErrors(found);
    const first = CONTROLS.find((control) => found.has(control));
    if (first) document.getElementById(`submit-${first}`)?.focus();
  };

  const send = async (validateOnly: boolean) => {
    setGood(false);
    setRehearsed(null);
    refuse(null);
    const made = request(values);
    if ("flaws" in made) {
      return point(new Map([...made.flaws].map(([control, flaw]) => [control, t.value.flaw[flaw]])));
    }
    setErrors(new Map());
    setBusy(validateOnly ? "check" : "send");
    const of = JSON.stringify(values);
    if (intent?.of !== of) intent = { of, id: uuid() };
    const requestId = validateOnly ? uuid() : intent.id;
    try {
      const answer = await jobs.createJob({ ...made.init, requestId, validateOnly });
      if (validateOnly) {
        setGood(true);
        const { parent } = made.init;
        const job = answer.job?.spec;
        // that it would be accepted stands, whatever the scheduler says or does not
        if (job) setRehearsed(await scheduling.simulate({ parent, job, withRemedies: true }).catch(() => null));
        return;
      }
      intent = null;
      draft.value = { ...values, name: "" };
      go(answer.job ? jobPath(answer.job.name) : "/");
    } catch (cause) {
      const found = problem(cause);
      const placed = new Map<Control, string>();
      for (const [path, text] of found.fields) {
        const control = controlOf(path);
        if (!control) continue;
        placed.set(control, placed.has(control) ? `${placed.get(control)}; ${text}` : text);
        found.fields.delete(path);
      }
      refuse(found);
      point(placed);
    } finally {
      setBusy(null);
    }
  };

  const field = (control: Control, label: string, hint: string | undefined, input: ComponentChildren, wide = false) => (
    <div class={wide ? "field wide" : "field"}>
      <label for={`submit-${control}`}>{label}</label>
      {input}
      {errors.has(control) ? (
        <p class="wrong" id={`submit-${control}-note`} data-testid={`error-${control}`}>{errors.get(control)}</p>
      ) : (
        hint && <p class="hint" id={`submit-${control}-note`}>{hint}</p>
      )}
    </div>
  );
  const bind = (control: Control) => ({
    id: `submit-${control}`,
    name: control,
    "data-testid": `submit-${control}`,
    "aria-describedby": `submit-${control}-note`,
    "aria-invalid": errors.has(control) ? ("true" as const) : undefined,
    value: values[control],
    onInput: (event: { currentTarget: { value: string } }) => type(control, event.currentTarget.value),
  });
  const figure = { inputMode: "decimal" as const, autocomplete: "off" };

  return (
    <form
      class="submit"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        void send(false);
      }}
    >
      <h1>{words.heading}</h1>
      <fieldset>
        <legend>{words.who}</legend>
        {field(
          "account",
          words.account,
          accounts.length === 0 ? words.noAccount : undefined,
          accounts.length === 0 ? (
            <input {...bind("account")} autocomplete="off" spellcheck={false} />
          ) : (
            <select {...bind("account")}>
              {accounts.map((account) => <option key={account} value={account}>{account}</option>)}
            </select>
          ),
        )}
        {field("name", words.name, words.nameHint, <input {...bind("name")} autocomplete="off" spellcheck={false} />)}
        {field(
          "command",
          words.command,
          words.commandHint,
          <textarea {...bind("command")} class="code" rows={2} spellcheck={false} placeholder="python train.py" />,
          true,
        )}
        {field(
          "image",
          words.image,
          undefined,
          <input {...bind("image")} class="code" autocomplete="off" spellcheck={false} />,
          true,
        )}
      </fieldset>
      <fieldset>
        <legend>{words.what}</legend>
        {field("replicas", words.replicas, words.replicasHint, <input {...bind("replicas")} {...figure} />)}
        {field("gpus", words.gpus, words.gpusHint, <input {...bind("gpus")} {...figure} />)}
        {field(
          "model",
          words.model,
          undefined,
          <select {...bind("model")}>
            <option value="">{words.anyModel}</option>
            {models.map(({ model, free, total }) => (
              <option key={model} value={model}>
                {`${model} · ${words.free(thousandths(free), thousandths(total))}`}
              </option>
            ))}
          </select>,
        )}
        {field("cpu", words.cpu, undefined, <input {...bind("cpu")} {...figure} />)}
        {field("memory", words.memory, undefined, <input {...bind("memory")} {...figure} />)}
        {field(
          "devices",
          words.devices,
          words.devicesHint(offered),
          <input {...bind("devices")} class="code" autocomplete="off" spellcheck={false} />,
          true,
        )}
        <Sum values={values} />
      </fieldset>
      <fieldset>
        <legend>{words.how}</legend>
        {field(
          "class",
          words.class,
          words.classHint,
          <select {...bind("class")}>
            <option value="guaranteed">{t.value.class.guaranteed}</option>
            <option value="best-effort">{t.value.class.bestEffort}</option>
          </select>,
        )}
        {field("priority", words.priority, words.priorityHint, <input {...bind("priority")} {...figure} />)}
        {field("duration", words.duration, words.durationHint, <input {...bind("duration")} autocomplete="off" />)}
        {field(
          "env",
          words.env,
          words.envHint,
          <textarea {...bind("env")} class="code" rows={3} spellcheck={false} />,
          true,
        )}
      </fieldset>
      <div class="actions">
        <button type="submit" class="primary" disabled={busy !== null} data-testid="submit-send">
          {busy === "send" ? words.sending : words.send}
        </button>
        <button type="button" disabled={busy !== null} onClick={() => void send(true)} data-testid="submit-check">
          {busy === "check" ? words.sending : words.check}
        </button>
        <div aria-live="polite">
          {good && <p class="good">{words.good}</p>}
          {rehearsed && <Rehearsal answer={rehearsed} />}
        </div>
      </div>
      {refused ? (
        <Trouble problem={refused}>
          {errors.size > 0 && <p>{words.fix}</p>}
          {unclear(refused.code) && intent && <p>{words.again}</p>}
        </Trouble>
      ) : (
        errors.size > 0 && <p class="trouble" role="alert" data-testid="error">{words.fix}</p>
      )}
    </form>
  );
}

/** What all replicas ask for together. */
function Sum({ values }: { values: Draft }) {
  const replicas = Number(values.replicas || 1);
  const all = (text: string) => String(Math.round(Number(text) * replicas * 1000) / 1000);
  const figures = [all(values.gpus), all(values.cpu), all(values.memory)] as const;
  if (figures.some((figure) => figure === "NaN")) return null;
  return <output class="sum" for="submit-replicas submit-gpus submit-cpu submit-memory">{t.value.submit.summary(...figures)}</output>;
}
