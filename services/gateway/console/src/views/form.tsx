// What forms have in common: controls by name, and a refusal shown at the control that it is about.
import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";
import { useAct } from "../act.js";
import type { Problem } from "../problem.js";

type Errors<K extends string> = ReadonlyMap<K, string>;

/** `placed` says which control a path of the request was typed into. */
export function useForm<K extends string>(start: Record<K, string>, placed: (path: string) => NoInfer<K> | undefined) {
  const [values, setValues] = useState(start);
  const [errors, setErrors] = useState<Errors<K>>(new Map());
  const act = useAct();
  const id = useId();

  const point = (found: Errors<K>) => {
    setErrors(found);
    const first = (Object.keys(values) as K[]).find((control) => found.has(control));
    if (first) document.getElementById(`${id}-${first}`)?.focus();
    return found.size === 0;
  };
  const set = (control: K, text: string) => {
    setValues((before) => ({ ...before, [control]: text }));
    act.anew();
    if (!errors.has(control)) return;
    const rest = new Map(errors);
    rest.delete(control);
    setErrors(rest);
  };
  return {
    values,
    errors,
    busy: act.busy,
    refused: act.refused,
    set,
    /** Shows what is wrong before anything is sent; whether nothing is. */
    point,
    reset: () => (setValues(start), setErrors(new Map()), act.anew()),
    send: (call: (requestId: string) => Promise<unknown>) => {
      setErrors(new Map());
      return act.run(call, (problem) => point(take(problem, placed)));
    },
    bind: (control: K, testid?: string) => ({
      id: `${id}-${control}`,
      name: control,
      "data-testid": testid,
      "aria-describedby": `${id}-${control}-note`,
      "aria-invalid": errors.has(control) ? ("true" as const) : undefined,
      value: values[control],
      onInput: (event: { currentTarget: { value: string } }) => set(control, event.currentTarget.value),
    }),
    field: (control: K, label: string, input: ComponentChildren, hint?: string) => (
      <div class="field">
        <label for={`${id}-${control}`}>{label}</label>
        {input}
        <p class={errors.has(control) ? "wrong" : "hint"} id={`${id}-${control}-note`}>
          {errors.get(control) ?? hint}
        </p>
      </div>
    ),
  };
}

/** Takes out of a problem what has a control. */
export function take<K extends string>(problem: Problem, placed: (path: string) => K | undefined): Map<K, string> {
  const found = new Map<K, string>();
  for (const [path, text] of problem.fields) {
    const control = placed(path);
    if (control === undefined) continue;
    found.set(control, found.has(control) ? `${found.get(control)}; ${text}` : text);
    problem.fields.delete(path);
  }
  return found;
}

/** A control by the last word of a path: "user.display_name" was typed into "display_name". */
export const byLastWord =
  <K extends string>(...controls: K[]) =>
  (path: string): K | undefined =>
    controls.find((control) => control === path.slice(path.lastIndexOf(".") + 1).replace(/\[\d+\]$/, ""));
