// Everybody, for admins: search, page, create.
import { useEffect, useState } from "preact/hooks";
import { useAct } from "../act.js";
import { clock } from "../format.js";
import { UserState, type Account, type User } from "../gen/crater/user/v1/resources_pb.js";
import { locale, t } from "../i18n/index.js";
import { useAccounts } from "../people.js";
import { go, idOf, note, query, userPath } from "../route.js";
import { people } from "../session.js";
import { Answers, Dialog } from "./dialog.js";
import { byLastWord, useForm } from "./form.js";
import { Choice, Typed } from "./jobs.js";
import { Trouble, useTitle } from "./parts.js";

const PAGE = 100;

export function UsersView() {
  const words = t.value.users;
  const [rows, setRows] = useState<User[] | null>(null);
  const [token, setToken] = useState("");
  const [creating, create] = useState(false);
  const act = useAct();
  useTitle(words.heading);
  const wanted = new URLSearchParams(query.value);
  const [text, state] = [wanted.get("text") ?? "", wanted.get("state") ?? ""];

  const want = (key: string, value: string) => {
    const next = new URLSearchParams(query.value);
    if (value) next.set(key, value);
    else next.delete(key);
    note(next);
  };
  const page = (pageToken: string, signal?: AbortSignal) =>
    act.run(async () => {
      const states = { active: UserState.ACTIVE, suspended: UserState.SUSPENDED }[state] ?? UserState.UNSPECIFIED;
      const answer = await people.listUsers({ pageSize: PAGE, pageToken, query: text, state: states }, signal ? { signal } : {});
      if (signal?.aborted) return;
      setRows((before) => (pageToken ? [...(before ?? []), ...answer.users] : answer.users));
      setToken(answer.nextPageToken);
    });
  useEffect(() => {
    const stop = new AbortController();
    void page("", stop.signal);
    return () => stop.abort();
  }, [text, state]);

  return (
    <section class="users">
      <div class="tools">
        <h1>{words.heading}</h1>
        <div class="filters" role="search" aria-label={t.value.jobs.filter}>
          <Typed label={words.search} value={text} testid="user-search" type={(next) => want("text", next.trim())} />
          <Choice label={words.state} value={state} testid="user-state" choose={(next) => want("state", next)}>
            <option value="">{words.anyState}</option>
            <option value="active">{words.states.active}</option>
            <option value="suspended">{words.states.suspended}</option>
          </Choice>
        </div>
        <span class="grow" />
        <button type="button" class="primary" data-testid="user-create" onClick={() => create(true)}>{words.create}</button>
      </div>
      {/* A search that was overtaken by the next one is no trouble. */}
      <Trouble problem={rows === null || !act.busy ? withoutAbort(act.refused) : null} />
      {rows === null ? (
        !act.refused && <p class="empty" role="status">{t.value.parts.loading}</p>
      ) : rows.length === 0 ? (
        <p class="empty">{words.noneMatch}</p>
      ) : (
        <div class="scroll">
          <table class="list">
            <thead>
              <tr>
                <th scope="col">{words.id}</th>
                <th scope="col">{words.displayName}</th>
                <th scope="col">{words.state}</th>
                <th scope="col">{words.role}</th>
                <th scope="col" class="figure">{words.lastLogin}</th>
                <th scope="col" class="figure">{words.created}</th>
              </tr>
            </thead>
            <tbody>{rows.map((user) => <Row key={user.name} user={user} />)}</tbody>
          </table>
        </div>
      )}
      {token && (
        <button type="button" class="more" disabled={act.busy} data-testid="more" onClick={() => void page(token)}>{t.value.jobs.more}</button>
      )}
      {creating && <CreateUser close={() => create(false)} />}
    </section>
  );
}

const withoutAbort = (problem: ReturnType<typeof useAct>["refused"]) => (problem?.text.includes("abort") ? null : problem);

function Row({ user }: { user: User }) {
  const words = t.value.users;
  const open = (event: MouseEvent) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target?.closest("a") && !getSelection()?.toString()) go(userPath(user.name));
  };
  return (
    <tr data-testid={`user-${idOf(user.name)}`} onClick={open}>
      <td class="name"><a href={userPath(user.name)}>{idOf(user.name)}</a></td>
      <td>{user.displayName}</td>
      <td><UserBadge user={user} /></td>
      <td>{user.platformAdmin ? words.admin : <span class="quiet">{words.person}</span>}</td>
      <td class="figure quiet">{clock(user.lastLoginTime, locale.value)}</td>
      <td class="figure quiet">{clock(user.createTime, locale.value)}</td>
    </tr>
  );
}

export function UserBadge({ user }: { user: User }) {
  const suspended = user.state === UserState.SUSPENDED;
  return (
    <span class={`badge ${suspended ? "failed" : "running"}`} data-testid="user-badge" data-state={suspended ? "suspended" : "active"}>
      {suspended ? t.value.users.states.suspended : t.value.users.states.active}
    </span>
  );
}

function CreateUser({ close }: { close: () => void }) {
  const words = t.value.users;
  const accounts = useAccounts();
  const form = useForm(
    { user_id: "", display_name: "", password: "", accounts: "", admin: "" },
    (path) => (path.startsWith("accounts") ? "accounts" : byLastWord("user_id", "display_name", "password")(path)),
  );
  const chosen = form.values.accounts.split(" ").filter(Boolean);
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const { values } = form;
    const flaws = new Map<"user_id" | "password", string>();
    if (!values.user_id.trim()) flaws.set("user_id", t.value.flaw.missing);
    if (!values.password) flaws.set("password", t.value.flaw.missing);
    if (!form.point(flaws)) return;
    const done = await form.send((requestId) =>
      people.createUser({
        userId: values.user_id.trim(),
        user: { displayName: values.display_name.trim(), platformAdmin: values.admin !== "" },
        password: values.password,
        accounts: chosen,
        requestId,
      }),
    );
    if (done) go(userPath(`users/${values.user_id.trim()}`));
  };
  return (
    <Dialog title={words.create} close={close} testid="create-user">
      <form class="stack" onSubmit={send}>
        {form.field("user_id", words.id, <input {...form.bind("user_id", "user-id")} autocomplete="off" spellcheck={false} />, t.value.accounts.idHint)}
        {form.field("display_name", words.displayName, <input {...form.bind("display_name", "user-name")} autocomplete="off" />)}
        {form.field("password", words.firstPassword, <input {...form.bind("password", "user-password")} type="password" autocomplete="new-password" />, t.value.self.passwordHint)}
        <fieldset class="checks">
          <legend>{words.accounts}</legend>
          {(accounts.answer ?? []).map(({ name }: Account) => (
            <label class="check" key={name}>
              <input
                type="checkbox"
                checked={chosen.includes(name)}
                onChange={(event) =>
                  form.set("accounts", (event.currentTarget.checked ? [...chosen, name] : chosen.filter((each) => each !== name)).join(" "))
                }
              />
              {idOf(name)}
            </label>
          ))}
          <p class="wrong">{form.errors.get("accounts")}</p>
        </fieldset>
        <label class="check">
          <input type="checkbox" checked={form.values.admin !== ""} data-testid="user-admin" onChange={(event) => form.set("admin", event.currentTarget.checked ? "yes" : "")} />
          {words.makeAdmin}
        </label>
        <Trouble problem={form.refused} />
        <Answers close={close} busy={form.busy} label={words.create} testid="user-send" />
      </form>
    </Dialog>
  );
}
