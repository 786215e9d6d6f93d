// All jobs of the reader's accounts, live: filtered, ordered and paged by the server. The filter is the address.
import { useEffect, useMemo, useState } from "preact/hooks";
import { Code } from "@connectrpc/connect";
import { t } from "../i18n/index.js";
import { ANY, fromQuery, SINCE, TABS, toQuery, type Wanted } from "../jobfilter.js";
import { useJobs } from "../joblist.js";
import { accountOf, note, query } from "../route.js";
import { me } from "../session.js";
import { JobTable } from "./jobtable.js";
import { Trouble, useTitle } from "./parts.js";

const PAGE = 100;
/** A filter that is being typed is asked for when the typing rests. */
const TYPING_MS = 250;

export function JobsView() {
  const words = t.value.jobs;
  const wanted = useMemo(() => fromQuery(query.value), [query.value]);
  const list = useJobs(wanted, PAGE);
  useTitle(words.heading);

  const want = (change: Partial<Wanted>) => note(toQuery({ ...fromQuery(query.value), ...change }));
  const rows = list.rows.value;
  const refused = list.refused.value;
  const filtered = toQuery({ ...wanted, order: ANY.order }).size > 0;
  return (
    <section class="jobs">
      <div class="tools">
        <h1>{words.heading}</h1>
        <div class="tabs" role="group" aria-label={words.byState}>
          {TABS.map((each) => (
            <button type="button" key={each} aria-pressed={each === wanted.tab} onClick={() => want({ tab: each })}>
              {t.value.state[each]}
            </button>
          ))}
        </div>
        <a class="button primary" href="/submit">{t.value.nav.submit}</a>
      </div>
      <Filters wanted={wanted} want={want} filtered={filtered} />
      <Trouble problem={refused} />
      {rows === null ? (
        !refused && <p class="empty" role="status">{words.loading}</p>
      ) : rows.length === 0 && refused?.code !== Code.InvalidArgument ? (
        <p class="empty">{filtered ? words.noneMatch : <>{words.none} <a href="/submit">{words.noneHint}</a></>}</p>
      ) : (
        <JobTable rows={rows} order={wanted.order} reorder={(order) => want({ order })} />
      )}
      {list.more.value && (
        <button type="button" class="more" disabled={list.busy.value} data-testid="more" onClick={list.next}>
          {list.busy.value ? t.value.parts.busy : words.more}
        </button>
      )}
    </section>
  );
}

function Filters({ wanted, want, filtered }: { wanted: Wanted; want: (change: Partial<Wanted>) => void; filtered: boolean }) {
  const words = t.value.jobs;
  const mine = me.value?.memberships.map((each) => accountOf(each.account)) ?? [];
  const accounts = mine.includes(wanted.account) || !wanted.account ? mine : [...mine, wanted.account];
  const days = wanted.from || wanted.until ? "days" : wanted.since;
  const [dated, setDated] = useState(days === "days");
  return (
    <div class="filters" role="search" aria-label={words.filter}>
      <Typed label={words.byName} value={wanted.text} testid="filter" type={(text) => want({ text: text.trim().toLowerCase() })} />
      <Choice label={words.account} value={wanted.account} testid="filter-account" choose={(account) => want({ account })}>
        <option value="">{words.anyAccount}</option>
        {accounts.map((each) => <option key={each} value={each}>{each}</option>)}
      </Choice>
      <Typed label={words.creator} value={wanted.user} testid="filter-user" type={(text) => want({ user: text.trim().toLowerCase() })} />
      <Choice
        label={words.class}
        value={wanted.class}
        testid="filter-class"
        choose={(text) => want({ class: text as Wanted["class"] })}
      >
        <option value="">{words.anyClass}</option>
        <option value="guaranteed">{t.value.class.guaranteed}</option>
        <option value="best-effort">{t.value.class.bestEffort}</option>
      </Choice>
      <Typed label={words.label} hint={words.labelHint} value={wanted.label} testid="filter-label" type={(text) => want({ label: text.trim() })} />
      <Choice
        label={words.created}
        value={dated ? "days" : wanted.since}
        testid="filter-since"
        choose={(text) => {
          setDated(text === "days");
          want({ since: text === "days" ? "" : (text as Wanted["since"]), from: "", until: "" });
        }}
      >
        <option value="">{words.anyTime}</option>
        {SINCE.map((each) => <option key={each} value={each}>{words.since[each]}</option>)}
        <option value="days">{words.days}</option>
      </Choice>
      {dated &&
        (["from", "until"] as const).map((end) => (
          <input
            key={end}
            type="date"
            aria-label={words[end]}
            title={words[end]}
            value={wanted[end]}
            data-testid={`filter-${end}`}
            onChange={(event) => want({ [end]: event.currentTarget.value })}
          />
        ))}
      {filtered && (
        <button
          type="button"
          class="plain"
          data-testid="filter-clear"
          onClick={() => {
            setDated(false);
            want({ ...ANY, order: wanted.order });
          }}
        >
          {words.clear}
        </button>
      )}
    </div>
  );
}

interface TypedProps { label: string; hint?: string; value: string; testid: string; type: (text: string) => void }

/** A text that is taken over when the typing rests, or at once when the reader goes elsewhere or presses Enter. */
export function Typed({ label, hint, value, testid, type }: TypedProps) {
  const [text, setText] = useState(value);
  const take = () => text.trim().toLowerCase() !== value.toLowerCase() && type(text);
  useEffect(() => {
    if (text.trim().toLowerCase() !== value.toLowerCase()) setText(value);
  }, [value]);
  useEffect(() => {
    if (text.trim().toLowerCase() === value.toLowerCase()) return;
    const timer = setTimeout(() => type(text), TYPING_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <input
      type="search"
      aria-label={label}
      title={hint}
      placeholder={hint ?? label}
      value={text}
      spellcheck={false}
      autocomplete="off"
      data-testid={testid}
      onInput={(event) => setText(event.currentTarget.value)}
      onBlur={take}
      onKeyDown={(event) => event.key === "Enter" && take()}
    />
  );
}

interface ChoiceProps { label: string; value: string; testid: string; choose: (value: string) => void; children: preact.ComponentChildren }

export function Choice({ label, value, testid, choose, children }: ChoiceProps) {
  return (
    <select aria-label={label} value={value} data-testid={testid} onChange={(event) => choose(event.currentTarget.value)}>
      {children}
    </select>
  );
}
