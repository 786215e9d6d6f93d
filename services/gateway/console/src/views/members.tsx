// Who is in an account, as what, and within which limits of their own.
import { useState } from "preact/hooks";
import { useAct } from "../act.js";
import type { Quota } from "../gen/crater/quota/v1/quota_service_pb.js";
import { MemberRole, UserState } from "../gen/crater/user/v1/resources_pb.js";
import type { Member } from "../gen/crater/user/v1/user_service_pb.js";
import { t } from "../i18n/index.js";
import { useMembers } from "../people.js";
import { idOf, userPath } from "../route.js";
import { isAdmin, manages, me, people, whoAmI } from "../session.js";
import { Bars } from "./bars.js";
import { Answers, Dialog } from "./dialog.js";
import { byLastWord, useForm } from "./form.js";
import { Sure, Trouble } from "./parts.js";

interface Props {
  account: string;
  limitsOf: (user: string) => Quota | undefined;
  /** Absent: the reader may not. */
  editLimits: ((user: string) => void) | undefined;
}

export function Members({ account, limitsOf, editLimits }: Props) {
  const words = t.value.members;
  const members = useMembers(account);
  const [adding, add] = useState(false);
  const act = useAct();
  const may = manages(account);
  /** One's own membership decides what one may do here. */
  const done = async (member: string) => {
    members.again();
    if (member === me.value?.user.name) await whoAmI().catch(() => undefined);
  };
  const be = async (user: string, role: MemberRole) => {
    if (await act.run((requestId) => people.addMember({ membership: { account, user, role }, requestId }))) await done(user);
  };
  const remove = async (user: string) => {
    if (await act.run((requestId) => people.removeMember({ account, user, requestId }))) await done(user);
  };
  const rows = members.answer;
  return (
    <section class="panel" aria-label={words.heading}>
      <div class="panel-head">
        <h2>{words.heading}{rows && <span class="count"> {rows.length}</span>}</h2>
        <span class="grow" />
        {may && <button type="button" data-testid="member-add" onClick={() => add(true)}>{words.add}</button>}
      </div>
      <Trouble problem={act.refused ?? members.refused} />
      {rows === null ? (
        !members.refused && <p class="quiet" role="status">{t.value.parts.loading}</p>
      ) : rows.length === 0 ? (
        <p class="quiet">{words.none}</p>
      ) : (
        <div class="bare-scroll">
          <table class="list people">
            <thead>
              <tr>
                <th scope="col">{words.user}</th>
                <th scope="col">{words.role}</th>
                <th scope="col">{words.limits}</th>
                {may && <th scope="col"><span class="unseen">{words.actions}</span></th>}
              </tr>
            </thead>
            <tbody>{rows.map((member) => <Row key={member.membership?.user} {...{ member, may, limitsOf, editLimits, be, remove }} busy={act.busy} />)}</tbody>
          </table>
        </div>
      )}
      {adding && <Add account={account} close={() => add(false)} saved={(user) => void done(user)} />}
    </section>
  );
}

interface RowProps extends Omit<Props, "account"> {
  member: Member;
  may: boolean;
  busy: boolean;
  be: (user: string, role: MemberRole) => void;
  remove: (user: string) => void;
}

function Row({ member, may, busy, limitsOf, editLimits, be, remove }: RowProps) {
  const words = t.value.members;
  const name = member.membership?.user ?? "";
  const id = idOf(name);
  const role = member.membership?.role ?? MemberRole.MEMBER;
  const limits = limitsOf(id);
  return (
    <tr data-testid={`member-${id}`}>
      <td>
        <b>{isAdmin() ? <a href={userPath(name)}>{member.displayName || id}</a> : member.displayName || id}</b>{" "}
        <span class="quiet">{member.displayName ? id : ""}</span>{" "}
        {member.state === UserState.SUSPENDED && <span class="badge failed">{t.value.users.states.suspended}</span>}
      </td>
      <td>
        {may ? (
          <select
            aria-label={`${words.role}: ${id}`}
            value={role}
            disabled={busy}
            data-testid={`role-${id}`}
            onChange={(event) => be(name, Number(event.currentTarget.value))}
          >
            <option value={MemberRole.MEMBER}>{words.roles.member}</option>
            <option value={MemberRole.MANAGER}>{words.roles.manager}</option>
          </select>
        ) : role === MemberRole.MANAGER ? words.roles.manager : words.roles.member}
      </td>
      <td class="limits">{limits ? <Bars quota={limits} /> : <span class="quiet">{words.noLimits}</span>}</td>
      {may && (
        <td class="row-actions">
          {editLimits && (
            <button type="button" class="plain" data-testid={`limits-${id}`} aria-label={`${words.editLimits}: ${id}`} onClick={() => editLimits(id)}>
              {words.editLimits}
            </button>
          )}
          <Sure label={words.remove} sure={words.removeSure} busy={busy} testid={`remove-${id}`} plain act={() => remove(name)} />
        </td>
      )}
    </tr>
  );
}

function Add({ account, close, saved }: { account: string; close: () => void; saved: (user: string) => void }) {
  const words = t.value.members;
  const form = useForm({ user: "", role: String(MemberRole.MEMBER) }, byLastWord("user", "role"));
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const id = form.values.user.trim();
    if (!form.point(new Map(id ? [] : [["user", t.value.flaw.missing]]))) return;
    const membership = { account, user: `users/${id}`, role: Number(form.values.role) };
    if (!(await form.send((requestId) => people.addMember({ membership, requestId })))) return;
    saved(membership.user);
    close();
  };
  return (
    <Dialog title={words.addHeading(idOf(account))} close={close} testid="add-member">
      <form class="stack" onSubmit={send}>
        {form.field("user", words.user, <input {...form.bind("user", "member-user")} autocomplete="off" spellcheck={false} />, words.userHint)}
        {form.field(
          "role",
          words.role,
          <select {...form.bind("role", "member-role")}>
            <option value={MemberRole.MEMBER}>{words.roles.member}</option>
            <option value={MemberRole.MANAGER}>{words.roles.manager}</option>
          </select>,
          words.roleHint,
        )}
        <Trouble problem={form.refused} />
        <Answers close={close} busy={form.busy} label={words.add} testid="member-send" />
      </form>
    </Dialog>
  );
}
