// A question in front of the page. The browser's own dialog: it keeps the focus, and Escape closes it.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { t } from "../i18n/index.js";

export function Dialog(props: { title: string; close: () => void; testid: string; children: ComponentChildren }) {
  const box = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = box.current;
    dialog?.showModal();
    // Gives the focus back to where it was.
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={box}
      aria-labelledby={id}
      data-testid={props.testid}
      onCancel={(event) => {
        event.preventDefault();
        props.close();
      }}
    >
      <h2 id={id}>{props.title}</h2>
      {props.children}
    </dialog>
  );
}

/** The last row of a dialog: away, or do it. */
export function Answers(props: { close: () => void; busy: boolean; label: string; danger?: boolean; testid: string; off?: boolean }) {
  return (
    <div class="actions">
      <button
        type="submit"
        class={props.danger ? "danger sure" : "primary"}
        disabled={props.busy || props.off}
        data-testid={props.testid}
      >
        {props.busy ? t.value.parts.busy : props.label}
      </button>
      <button type="button" onClick={props.close}>{t.value.parts.away}</button>
    </div>
  );
}
