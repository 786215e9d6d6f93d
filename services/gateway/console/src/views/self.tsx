// The reader's own page: who one is, the acting account, the password.
import { useState } from "preact/hooks";
import { useAct } from "../act.js";
import { t } from "../i18n/index.js";
import { idOf } from "../route.js";
import { actIn, auth, me } from "../session.js";
import { byLastWord, useForm } from "./form.js";
import { Trouble, useTitle } from "./parts.js";
import { Memberships } from "./user.js";

export function SelfView() {
  const words = t.value.self;
  useTitle(words.heading);
  const mine = me.value;
  if (!mine) return null;
  return (
    <section class="self stack">
      <div class="head">
        <h1>{mine.user.displayName || idOf(mine.user.name)}</h1>
        <span class="quiet">{idOf(mine.user.name)}{mine.user.platformAdmin && ` · ${t.value.users.admin}`}</span>
      </div>
      <div class="columns even">
        <Password />
        <div class="side">
          <section class="panel">
            <h2>{words.acting}</h2>
            <ActingAccount labelled />
            <p class="hint">{words.actingHint}</p>
          </section>
          <Memberships list={mine.memberships} />
        </div>
      </div>
    </section>
  );
}

/** Chooses the account that new jobs go to; also in the header. */
export function ActingAccount({ labelled }: { labelled?: boolean }) {
  const words = t.value.self;
  const act = useAct();
  const mine = me.value;
  if (!mine || mine.memberships.length === 0) return labelled ? <p class="quiet">{t.value.users.noAccounts}</p> : null;
  return (
    <>
      <select
        class="acting"
        aria-label={words.acting}
        title={words.acting}
        value={mine.acting}
        disabled={act.busy}
        data-testid={labelled ? "self-acting" : "acting"}
        onChange={(event) => {
          const select = event.currentTarget;
          void act.run(() => actIn(select.value)).then((done) => {
            if (!done) select.value = mine.acting;
          });
        }}
      >
        {mine.memberships.map(({ account }) => <option key={account} value={account}>{idOf(account)}</option>)}
      </select>
      {act.refused && (labelled ? <Trouble problem={act.refused} /> : <span class="wrong" role="alert" title={act.refused.text}>!</span>)}
    </>
  );
}

function Password() {
  const words = t.value.self;
  const form = useForm({ current_password: "", new_password: "", repeated: "" }, byLastWord("current_password", "new_password"));
  const [done, setDone] = useState(false);
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const { current_password: currentPassword, new_password: newPassword, repeated } = form.values;
    const flaws = new Map<"current_password" | "new_password" | "repeated", string>();
    if (!currentPassword) flaws.set("current_password", t.value.flaw.missing);
    if (!newPassword) flaws.set("new_password", t.value.flaw.missing);
    if (newPassword !== repeated) flaws.set("repeated", words.differs);
    setDone(false);
    if (!form.point(flaws)) return;
    if (!(await form.send(() => auth.changePassword({ currentPassword, newPassword })))) return;
    form.reset();
    setDone(true);
  };
  const input = (control: "current_password" | "new_password" | "repeated", fill: string) => (
    <input {...form.bind(control, `self-${control}`)} type="password" autocomplete={fill} />
  );
  return (
    <section class="panel">
      <h2>{words.password}</h2>
      <form class="stack" onSubmit={send}>
        {/* For password managers: whose password it is. */}
        <input class="unseen" type="text" autocomplete="username" value={idOf(me.value?.user.name ?? "")} readOnly tabIndex={-1} aria-hidden="true" />
        {form.field("current_password", words.currentPassword, input("current_password", "current-password"))}
        {form.field("new_password", words.newPassword, input("new_password", "new-password"), words.passwordHint)}
        {form.field("repeated", words.repeated, input("repeated", "new-password"))}
        <Trouble problem={form.refused} />
        <div class="actions">
          <button type="submit" class="primary" disabled={form.busy} data-testid="self-send">{form.busy ? t.value.parts.busy : words.changePassword}</button>
          <div aria-live="polite">{done && <p class="good">{words.done}</p>}</div>
        </div>
      </form>
    </section>
  );
}
