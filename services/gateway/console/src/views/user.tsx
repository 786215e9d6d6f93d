// One user: who it is, where the user is a member, and what an admin may do.
import { useMemo, useState } from "preact/hooks";
import { Code } from "@connectrpc/connect";
import { useAct } from "../act.js";
import { useAsked } from "../ask.js";
import { clock, full } from "../format.js";
import { MemberRole, UserState, type Membership, type User } from "../gen/crater/user/v1/resources_pb.js";
import { locale, t } from "../i18n/index.js";
import { ANY } from "../jobfilter.js";
import { useJobs } from "../joblist.js";
import { accountPath, go, idOf } from "../route.js";
import { isAdmin, me, people } from "../session.js";
import { Answers, Dialog } from "./dialog.js";
import { byLastWord, useForm } from "./form.js";
import { JobTable } from "./jobtable.js";
import { Sure, Trouble, useTitle } from "./parts.js";
import { UserBadge } from "./users.js";

const EVERY_MS = 15_000;
const MANY_JOBS = 10;

export function UserView({ name }: { name: string }) {
  const words = t.value.users;
  const asked = useAsked((signal) => people.getUser({ name }, { signal }), EVERY_MS, [name]);
  useTitle(idOf(name));
  const user = asked.answer?.user;
  return (
    <section class="user stack">
      <a class="back" href="/users">← {words.heading}</a>
      {asked.refused?.code === Code.NotFound ? (
        <p class="empty" role="alert" data-testid="error">{words.missing}</p>
      ) : (
        <Trouble problem={asked.refused} />
      )}
      {user && asked.answer ? (
        <Known user={user} memberships={asked.answer.memberships} again={asked.again} />
      ) : (
        !asked.refused && <p class="empty" role="status">{t.value.parts.loading}</p>
      )}
    </section>
  );
}

function Known({ user, memberships, again }: { user: User; memberships: Membership[]; again: () => void }) {
  const words = t.value.users;
  const [asking, ask] = useState<"change" | "password" | "delete" | null>(null);
  const act = useAct();
  const { name, etag } = user;
  const suspended = user.state === UserState.SUSPENDED;
  const self = name === me.value?.user.name;
  const flip = async () => {
    const call = suspended ? people.reinstateUser : people.suspendUser;
    if (await act.run((requestId) => call({ name, etag, requestId }))) again();
  };
  const facts: [string, string, string?][] = [
    [words.role, user.platformAdmin ? words.admin : words.person],
    [words.created, clock(user.createTime, locale.value), full(user.createTime, locale.value)],
    [words.lastLogin, clock(user.lastLoginTime, locale.value), full(user.lastLoginTime, locale.value)],
  ];
  return (
    <>
      <div class="head">
        <h1>{user.displayName || idOf(name)}</h1>
        <span class="quiet">{idOf(name)}</span>
        <UserBadge user={user} />
        <span class="grow" />
        {isAdmin() && (
          <>
            <button type="button" data-testid="user-change" onClick={() => ask("change")}>{words.change}</button>
            <button type="button" data-testid="user-reset" onClick={() => ask("password")}>{words.reset}</button>
            {suspended ? (
              <button type="button" disabled={act.busy} data-testid="user-reinstate" onClick={() => void flip()}>{words.reinstate}</button>
            ) : (
              !self && <Sure label={words.suspend} sure={words.suspendSure} busy={act.busy} testid="user-suspend" act={() => void flip()} />
            )}
            {!self && <button type="button" class="danger" data-testid="user-delete" onClick={() => ask("delete")}>{words.remove}</button>}
          </>
        )}
      </div>
      <Trouble problem={act.refused} />
      {suspended && <p class="note">{words.suspendedMeans}</p>}
      <div class="columns even">
        <section class="panel">
          <h2>{words.facts}</h2>
          <dl class="facts">{facts.map(([label, value, title]) => <div key={label}><dt>{label}</dt><dd title={title}>{value}</dd></div>)}</dl>
        </section>
        <Memberships list={memberships} />
      </div>
      <Jobs user={idOf(name)} />
      {asking === "change" && <Change user={user} close={() => ask(null)} saved={again} />}
      {asking === "password" && <Reset name={name} close={() => ask(null)} />}
      {asking === "delete" && <Remove user={user} close={() => ask(null)} />}
    </>
  );
}

/** What the user's jobs do, as far as the reader may see them. */
function Jobs({ user }: { user: string }) {
  const wanted = useMemo(() => ({ ...ANY, user }), [user]);
  const rows = useJobs(wanted, MANY_JOBS).rows.value;
  return (
    <section class="panel flush" aria-label={t.value.users.jobs}>
      <div class="panel-head">
        <h2>{t.value.jobs.heading}</h2>
        <span class="grow" />
        <a href={`/jobs?user=${encodeURIComponent(user)}`}>{t.value.users.jobs}</a>
      </div>
      {!rows ? <p class="empty" role="status">{t.value.jobs.loading}</p> : rows.length === 0 ? <p class="empty">{t.value.jobs.none}</p> : <JobTable rows={rows.slice(0, MANY_JOBS)} brief />}
    </section>
  );
}

export function Memberships({ list }: { list: Membership[] }) {
  const words = t.value.users;
  return (
    <section class="panel">
      <h2>{words.accounts}</h2>
      {list.length === 0 ? (
        <p class="quiet">{words.noAccounts}</p>
      ) : (
        <ul class="plainly">
          {list.map(({ account, role }) => (
            <li key={account}>
              <a href={accountPath(account)}>{idOf(account)}</a>{" "}
              <span class="quiet">{role === MemberRole.MANAGER ? t.value.members.roles.manager : t.value.members.roles.member}</span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Change({ user, close, saved }: { user: User; close: () => void; saved: () => void }) {
  const words = t.value.users;
  const start = { display_name: user.displayName, platform_admin: user.platformAdmin ? "yes" : "" };
  const form = useForm(start, byLastWord("display_name", "platform_admin"));
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const { values } = form;
    const paths = (["display_name", "platform_admin"] as const).filter((key) => values[key].trim() !== start[key]);
    if (paths.length === 0) return close();
    const changed = { name: user.name, etag: user.etag, displayName: values.display_name.trim(), platformAdmin: values.platform_admin !== "" };
    if (!(await form.send((requestId) => people.updateUser({ user: changed, updateMask: { paths: [...paths] }, requestId })))) return;
    saved();
    close();
  };
  return (
    <Dialog title={words.changeHeading(idOf(user.name))} close={close} testid="change-user">
      <form class="stack" onSubmit={send}>
        {form.field("display_name", words.displayName, <input {...form.bind("display_name", "user-name")} autocomplete="off" />)}
        <label class="check">
          <input
            type="checkbox"
            checked={form.values.platform_admin !== ""}
            data-testid="user-admin"
            onChange={(event) => form.set("platform_admin", event.currentTarget.checked ? "yes" : "")}
          />
          {words.makeAdmin}
        </label>
        <p class="wrong">{form.errors.get("platform_admin")}</p>
        <Trouble problem={form.refused} />
        <Answers close={close} busy={form.busy} label={t.value.parts.save} testid="user-send" />
      </form>
    </Dialog>
  );
}

function Reset({ name, close }: { name: string; close: () => void }) {
  const words = t.value.users;
  const form = useForm({ new_password: "" }, byLastWord("new_password"));
  const [done, setDone] = useState(false);
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const newPassword = form.values.new_password;
    if (!form.point(new Map(newPassword ? [] : [["new_password", t.value.flaw.missing]]))) return;
    setDone(await form.send((requestId) => people.resetPassword({ name, newPassword, requestId })));
  };
  return (
    <Dialog title={words.resetHeading(idOf(name))} close={close} testid="reset-password">
      {done ? (
        <div class="stack">
          <p class="good" role="status">{words.resetDone}</p>
          <div class="actions"><button type="button" class="primary" onClick={close}>{t.value.parts.close}</button></div>
        </div>
      ) : (
        <form class="stack" onSubmit={send}>
          <p>{words.resetMeans}</p>
          {form.field("new_password", t.value.self.newPassword, <input {...form.bind("new_password", "new-password")} type="password" autocomplete="new-password" />, t.value.self.passwordHint)}
          <Trouble problem={form.refused} />
          <Answers close={close} busy={form.busy} label={words.resetNow} testid="reset-send" />
        </form>
      )}
    </Dialog>
  );
}

function Remove({ user, close }: { user: User; close: () => void }) {
  const words = t.value.users;
  const [typed, type] = useState("");
  const act = useAct();
  const id = idOf(user.name);
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const { name, etag } = user;
    if (await act.run((requestId) => people.deleteUser({ name, etag, requestId }))) go("/users");
  };
  return (
    <Dialog title={words.removeHeading(id)} close={close} testid="delete-user">
      <form class="stack" onSubmit={send}>
        <ul class="means">{words.removeMeans.split("\n").map((line) => <li key={line}>{line}</li>)}</ul>
        <label class="field">
          {t.value.accounts.typeId(id)}
          <input value={typed} data-testid="type-id" autocomplete="off" spellcheck={false} onInput={(event) => type(event.currentTarget.value)} />
        </label>
        <Trouble problem={act.refused} />
        <Answers close={close} busy={act.busy} off={typed !== id} label={words.removeNow} danger testid="user-send" />
      </form>
    </Dialog>
  );
}
