// The frame: the header, and the view of the place where the reader is.
import { useEffect, useState } from "preact/hooks";
import * as cluster from "../cluster.js";
import { choose, dictionaries, language, t, type Language } from "../i18n/index.js";
import { overall, trouble } from "../link.js";
import { idOf, place, type Place } from "../route.js";
import { isAdmin, me, signOut, state } from "../session.js";
import { AccountView } from "./account.js";
import { AccountsView } from "./accounts.js";
import { ClusterView } from "./cluster.js";
import { JobView } from "./job.js";
import { JobsView } from "./jobs.js";
import { Overview } from "./overview.js";
import { Indicator, Mark } from "./parts.js";
import { ActingAccount, SelfView } from "./self.js";
import { SignIn } from "./signin.js";
import { SubmitView } from "./submit.js";
import { UserView } from "./user.js";
import { UsersView } from "./users.js";

/** A break that heals sooner is not worth a word in the page. */
const LOST_MS = 4_000;

export function App() {
  if (state.value === "in") return <Inside />;
  return (
    <div class="outside">
      <LanguageSwitch />
      {state.value === "out" ? <SignIn /> : <p class="quiet">{t.value.signIn.restoring}</p>}
    </div>
  );
}

function Inside() {
  useEffect(() => cluster.leave, []);
  const words = t.value;
  const link = overall.value;
  return (
    <>
      <a class="skip" href="#main">{words.skip}</a>
      <header class="bar">
        <a class="brand" href="/" aria-label={words.nav.home}>
          <Mark /> Crater
        </a>
        <nav aria-label={words.nav.main}>
          <Entry to="/" label={words.nav.overview} at={["overview"]} />
          <Entry to="/jobs" label={words.nav.jobs} at={["jobs", "job"]} />
          <Entry to="/cluster" label={words.nav.cluster} at={["cluster"]} />
          <Entry to="/accounts" label={words.nav.accounts} at={["accounts", "account"]} />
          {isAdmin() && <Entry to="/users" label={words.nav.users} at={["users", "user"]} />}
          <Entry to="/submit" label={words.nav.submit} at={["submit"]} />
        </nav>
        <span class="grow" />
        {link && <Indicator link={link} title={trouble.value} />}
        <ActingAccount />
        <LanguageSwitch />
        <a class="who" href="/me" title={words.self.heading} data-testid="nav-me" aria-current={place.value.at === "me" ? "page" : undefined}>
          {me.value?.user.displayName || idOf(me.value?.user.name ?? "")}
        </a>
        <button type="button" class="plain" data-testid="sign-out" onClick={() => void signOut()}>
          {words.nav.signOut}
        </button>
      </header>
      <Lost lost={link === "reconnecting"} />
      <main id="main" tabIndex={-1}>
        <View here={place.value} />
      </main>
    </>
  );
}

function View({ here }: { here: Place }) {
  switch (here.at) {
    case "overview": return <Overview />;
    case "jobs": return <JobsView />;
    case "job": return <JobView key={here.name} name={here.name} />;
    case "cluster": return <ClusterView />;
    case "accounts": return <AccountsView />;
    case "account": return <AccountView key={here.name} name={here.name} />;
    case "users": return <UsersView />;
    case "user": return <UserView key={here.name} name={here.name} />;
    case "submit": return <SubmitView />;
    case "me": return <SelfView />;
    case "nowhere": return <h1 class="empty">{t.value.nowhere}</h1>;
  }
}

function Entry({ to, label, at }: { to: string; label: string; at: Place["at"][] }) {
  return (
    <a href={to} data-testid={`nav-${at[0]}`} aria-current={at.includes(place.value.at) ? "page" : undefined}>{label}</a>
  );
}

/** Says that what is shown may be old, while it lasts. */
function Lost({ lost }: { lost: boolean }) {
  const [long, setLong] = useState(false);
  useEffect(() => {
    if (!lost) return setLong(false);
    const timer = setTimeout(() => setLong(true), LOST_MS);
    return () => clearTimeout(timer);
  }, [lost]);
  return (
    <div role="status" class={lost && long ? "lost" : ""} data-testid={lost && long ? "lost" : undefined}>
      {lost && long && <>{t.value.link.lost} <span class="quiet">{trouble.value}</span></>}
    </div>
  );
}

/** A button that names the other language, in that language. */
function LanguageSwitch() {
  const other = (Object.keys(dictionaries) as Language[]).find((each) => each !== language.value) ?? "en";
  return (
    <button type="button" class="plain" lang={other} data-testid="language" onClick={() => choose(other)}>
      {dictionaries[other].languageName}
    </button>
  );
}
