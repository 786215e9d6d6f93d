import { useEffect, useRef, useState } from "preact/hooks";
import { Code } from "@connectrpc/connect";
import { t } from "../i18n/index.js";
import { problem, type Problem } from "../problem.js";
import { ended, signIn } from "../session.js";
import { Mark, Trouble } from "./parts.js";

export function SignIn() {
  const words = t.value.signIn;
  const [busy, setBusy] = useState(false);
  const [refused, refuse] = useState<Problem | null>(null);
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => first.current?.focus(), []);
  useEffect(() => {
    document.title = `${words.heading} · ${t.value.title}`;
  }, [words]);

  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    setBusy(true);
    refuse(null);
    try {
      await signIn(String(form.get("user") ?? "").trim(), String(form.get("password") ?? ""));
    } catch (cause) {
      refuse(problem(cause));
      setBusy(false);
    }
  };

  const wrong = refused?.code === Code.Unauthenticated;
  return (
    <main class="door">
      <h1>
        <Mark /> Crater
      </h1>
      <p class="quiet">{t.value.tagline}</p>
      <form onSubmit={send}>
        <label for="user">{words.user}</label>
        <input
          ref={first}
          id="user"
          name="user"
          autocomplete="username"
          autocapitalize="none"
          spellcheck={false}
          required
          data-testid="login-user"
        />
        <label for="password">{words.password}</label>
        <input
          id="password"
          name="password"
          type="password"
          autocomplete="current-password"
          required
          data-testid="login-password"
        />
        <button type="submit" class="primary" disabled={busy} data-testid="login-submit">
          {busy ? words.sending : words.send}
        </button>
        {ended.value && !refused && <p class="trouble" role="status">{words.ended}</p>}
        {wrong ? (
          <p class="trouble" role="alert" data-testid="error">{words.wrong}</p>
        ) : (
          <Trouble problem={refused} />
        )}
      </form>
    </main>
  );
}
