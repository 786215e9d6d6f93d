// The tree of accounts, and what each of them uses.
import { useState } from "preact/hooks";
import type { Account } from "../gen/crater/user/v1/resources_pb.js";
import { t } from "../i18n/index.js";
import { useAccounts, useQuotas } from "../people.js";
import { branches, ownerOf } from "../quota.js";
import { accountPath, go, idOf } from "../route.js";
import { isAdmin, people } from "../session.js";
import { BarLegend, Bars } from "./bars.js";
import { Answers, Dialog } from "./dialog.js";
import { byLastWord, useForm } from "./form.js";
import { Trouble, useTitle } from "./parts.js";

export function AccountsView() {
  const words = t.value.accounts;
  const accounts = useAccounts();
  const quotas = useQuotas("accounts/-");
  const [creating, create] = useState(false);
  useTitle(words.heading);
  const byAccount = new Map(
    (quotas.answer ?? []).filter(({ name }) => !ownerOf(name).user).map((quota) => [ownerOf(quota.name).account, quota]),
  );
  const rows = branches(accounts.answer ?? []);
  return (
    <section class="accounts">
      <div class="tools">
        <h1>{words.heading}</h1>
        <span class="grow" />
        <BarLegend />
        {isAdmin() && (
          <button type="button" class="primary" data-testid="account-create" onClick={() => create(true)}>{words.create}</button>
        )}
      </div>
      <Trouble problem={accounts.refused ?? quotas.refused} />
      {accounts.answer === null ? (
        !accounts.refused && <p class="empty" role="status">{t.value.parts.loading}</p>
      ) : rows.length === 0 ? (
        <p class="empty">{isAdmin() ? words.none : words.noneYours}</p>
      ) : (
        <ul class="tree">
          {rows.map(({ item, depth }) => {
            const quota = byAccount.get(idOf(item.name));
            return (
              <li key={item.name} class="panel" style={{ marginLeft: `${Math.min(depth, 6) * 28}px` }} data-testid={`account-${idOf(item.name)}`}>
                <div class="branch">
                  <h2><a href={accountPath(item.name)}>{item.displayName || idOf(item.name)}</a></h2>
                  <span class="quiet">{item.displayName && item.displayName !== idOf(item.name) ? idOf(item.name) : ""}</span>
                  {quota && quota.weight > 1 && <span class="quiet">{t.value.quota.weighs(quota.weight)}</span>}
                </div>
                {quota ? <Bars quota={quota} /> : <p class="quiet">{quotas.answer ? t.value.quota.unlimited : t.value.parts.loading}</p>}
              </li>
            );
          })}
        </ul>
      )}
      {creating && <CreateAccount all={accounts.answer ?? []} close={() => create(false)} />}
    </section>
  );
}

function CreateAccount({ all, close }: { all: Account[]; close: () => void }) {
  const words = t.value.accounts;
  const form = useForm({ account_id: "", display_name: "", parent: "" }, byLastWord("account_id", "display_name", "parent"));
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const { account_id: accountId, display_name: displayName, parent } = form.values;
    if (!form.point(new Map(accountId.trim() ? [] : [["account_id", t.value.flaw.missing]]))) return;
    const account = { displayName: displayName.trim(), parent };
    const done = await form.send((requestId) => people.createAccount({ accountId: accountId.trim(), account, requestId }));
    if (done) go(accountPath(`accounts/${accountId.trim()}`));
  };
  return (
    <Dialog title={words.create} close={close} testid="create-account">
      <form class="stack" onSubmit={send}>
        {form.field("account_id", words.id, <input {...form.bind("account_id", "account-id")} autocomplete="off" spellcheck={false} />, words.idHint)}
        {form.field("display_name", words.displayName, <input {...form.bind("display_name", "account-name")} autocomplete="off" />)}
        {form.field("parent", words.parent, <ParentChoice bind={form.bind("parent", "account-parent")} all={all} />, words.parentHint)}
        <Trouble problem={form.refused} />
        <Answers close={close} busy={form.busy} label={words.create} testid="account-send" />
      </form>
    </Dialog>
  );
}

/** The accounts in the order of the tree, and none. */
export function ParentChoice({ bind, all }: { bind: object; all: readonly Account[] }) {
  return (
    <select {...bind}>
      <option value="">{t.value.accounts.top}</option>
      {branches(all).map(({ item, depth }) => (
        <option key={item.name} value={item.name}>{"\u2003".repeat(depth) + idOf(item.name)}</option>
      ))}
    </select>
  );
}
