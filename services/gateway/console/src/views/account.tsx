// One account: its limits and what it uses, its members with theirs, the accounts below it.
import { useState } from "preact/hooks";
import { Code } from "@connectrpc/connect";
import { create } from "@bufbuild/protobuf";
import { useAct } from "../act.js";
import { full } from "../format.js";
import { QuotaSchema, type Quota } from "../gen/crater/quota/v1/quota_service_pb.js";
import type { Account } from "../gen/crater/user/v1/resources_pb.js";
import { locale, t } from "../i18n/index.js";
import { useAccounts, useQuotas } from "../people.js";
import { isBelow, ownerOf } from "../quota.js";
import { accountPath, go, idOf } from "../route.js";
import { isAdmin, manages, people } from "../session.js";
import { ParentChoice } from "./accounts.js";
import { BarLegend, Bars } from "./bars.js";
import { Answers, Dialog } from "./dialog.js";
import { byLastWord, useForm } from "./form.js";
import { Members } from "./members.js";
import { Trouble, useTitle } from "./parts.js";
import { QuotaEditor } from "./quotaedit.js";

export function AccountView({ name }: { name: string }) {
  const words = t.value.accounts;
  const accounts = useAccounts();
  const quotas = useQuotas(name);
  const [editing, edit] = useState<Quota | null>(null);
  const [asking, ask] = useState<"change" | "delete" | null>(null);
  const id = idOf(name);
  useTitle(id);
  const account = accounts.answer?.find((each) => each.name === name);
  const own = quotas.answer?.find((quota) => quota.name === `${name}/quota`);
  const below = accounts.answer?.filter((each) => each.parent === name) ?? [];
  const limitsOf = (user: string) => quotas.answer?.find((quota) => ownerOf(quota.name).user === user);

  const back = <a class="back" href="/accounts">← {words.heading}</a>;
  if (accounts.answer && !account) {
    return <section class="account stack">{back}<p class="empty" role="alert" data-testid="error">{words.missing}</p></section>;
  }
  return (
    <section class="account stack">
      {back}
      <div class="head">
        <h1>{account?.displayName || id}</h1>
        <span class="quiet">
          {id}
          {account?.parent && <> · {words.below} <a href={accountPath(account.parent)}>{idOf(account.parent)}</a></>}
          {account && <span title={full(account.createTime, locale.value)}> · {words.namespace} <code>{account.namespace}</code></span>}
        </span>
        <span class="grow" />
        <a class="button" href={`/jobs?account=${encodeURIComponent(id)}`}>{words.jobs}</a>
        {isAdmin() && account && (
          <>
            <button type="button" data-testid="account-change" onClick={() => ask("change")}>{words.change}</button>
            <button type="button" class="danger" data-testid="account-delete" onClick={() => ask("delete")}>{words.remove}</button>
          </>
        )}
      </div>
      <Trouble problem={accounts.refused ?? (quotas.refused?.code === Code.NotFound ? null : quotas.refused)} />
      <section class="panel" aria-label={t.value.quota.heading} data-testid="account-quota">
        <div class="panel-head">
          <h2>{t.value.quota.heading}</h2>
          {own && <span class="quiet">{t.value.quota.weighs(own.weight || 1)}</span>}
          <span class="grow" />
          <BarLegend />
          {isAdmin() && quotas.answer && (
            <button
              type="button"
              data-testid="quota-edit"
              onClick={() => edit(own ?? create(QuotaSchema, { name: `${name}/quota` }))}
            >
              {t.value.quota.change}
            </button>
          )}
        </div>
        {own ? <Bars quota={own} /> : <p class="quiet">{quotas.answer ? t.value.quota.unlimited : t.value.parts.loading}</p>}
      </section>
      <Members
        account={name}
        limitsOf={limitsOf}
        editLimits={
          manages(name) && quotas.answer
            ? (user) => edit(limitsOf(user) ?? create(QuotaSchema, { name: `${name}/users/${user}/quota` }))
            : undefined
        }
      />
      {below.length > 0 && (
        <section class="panel">
          <h2>{words.children}</h2>
          <ul class="inline">{below.map((each) => <li key={each.name}><a href={accountPath(each.name)}>{each.displayName || idOf(each.name)}</a></li>)}</ul>
        </section>
      )}
      {editing && <QuotaEditor key={editing.name} quota={editing} close={() => edit(null)} saved={quotas.again} />}
      {account && asking === "change" && (
        <Change account={account} all={accounts.answer ?? []} close={() => ask(null)} saved={accounts.again} />
      )}
      {account && asking === "delete" && <Remove account={account} below={below} close={() => ask(null)} />}
    </section>
  );
}

function Change({ account, all, close, saved }: { account: Account; all: Account[]; close: () => void; saved: () => void }) {
  const words = t.value.accounts;
  const start = { display_name: account.displayName, parent: account.parent };
  const form = useForm(start, byLastWord("display_name", "parent"));
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const { values } = form;
    const paths = (["display_name", "parent"] as const).filter((key) => values[key].trim() !== start[key]);
    if (paths.length === 0) return close();
    const changed = { name: account.name, etag: account.etag, displayName: values.display_name.trim(), parent: values.parent };
    if (!(await form.send((requestId) => people.updateAccount({ account: changed, updateMask: { paths: [...paths] }, requestId })))) return;
    saved();
    close();
  };
  // It cannot come below itself.
  const above = all.filter((each) => !isBelow(each.name, account.name, all));
  return (
    <Dialog title={words.changeHeading(idOf(account.name))} close={close} testid="change-account">
      <form class="stack" onSubmit={send}>
        {form.field("display_name", words.displayName, <input {...form.bind("display_name", "account-name")} autocomplete="off" />)}
        {form.field("parent", words.parent, <ParentChoice bind={form.bind("parent", "account-parent")} all={above} />, words.parentHint)}
        <Trouble problem={form.refused} />
        <Answers close={close} busy={form.busy} label={t.value.parts.save} testid="account-send" />
      </form>
    </Dialog>
  );
}

/** Says what it means first; the id is typed, since it is for good. */
function Remove({ account, below, close }: { account: Account; below: Account[]; close: () => void }) {
  const words = t.value.accounts;
  const [typed, type] = useState("");
  const act = useAct();
  const id = idOf(account.name);
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const { name, etag } = account;
    if (await act.run((requestId) => people.deleteAccount({ name, etag, force: true, requestId }))) go("/accounts");
  };
  return (
    <Dialog title={words.removeHeading(id)} close={close} testid="delete-account">
      {below.length > 0 ? (
        <div class="stack">
          <p>{words.removeBelow(below.map((each) => idOf(each.name)).join(", "))}</p>
          <div class="actions"><button type="button" onClick={close}>{t.value.parts.away}</button></div>
        </div>
      ) : (
        <form class="stack" onSubmit={send}>
          <ul class="means">{words.removeMeans.split("\n").map((line) => <li key={line}>{line}</li>)}</ul>
          <label class="field">
            {words.typeId(id)}
            <input value={typed} data-testid="type-id" autocomplete="off" spellcheck={false} onInput={(event) => type(event.currentTarget.value)} />
          </label>
          <Trouble problem={act.refused} />
          <Answers close={close} busy={act.busy} off={typed !== id} label={words.removeNow} danger testid="account-send" />
        </form>
      )}
    </Dialog>
  );
}
