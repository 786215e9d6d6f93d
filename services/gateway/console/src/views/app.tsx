// The frame: header, cluster strip, and the view of the place where the reader is.
import { useEffect } from "preact/hooks";
import * as cluster from "../cluster.js";
import * as feed from "../feed.js";
import { choose, dictionaries, language, t, type Language } from "../i18n/index.js";
import { idOf, place } from "../route.js";
import { me, signOut, state } from "../session.js";
import { ClusterStrip } from "./cluster.js";
import { JobView } from "./job.js";
import { JobsView } from "./jobs.js";
import { Indicator, Mark } from "./parts.js";
import { SignIn } from "./signin.js";
import { SubmitView } from "./submit.js";

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
  useEffect(() => {
    const stop = new AbortController();
    void feed.follow(stop.signal);
    void cluster.follow(stop.signal);
    return () => stop.abort();
  }, []);
  const here = place.value;
  const words = t.value;
  return (
    <>
      <a class="skip" href="#main">{words.skip}</a>
      <header class="bar">
        <a class="brand" href="/" aria-label={words.nav.home}>
          <Mark /> Crater
        </a>
        <nav aria-label={words.nav.main}>
          <a href="/" aria-current={here.at === "jobs" ? "page" : undefined}>{words.nav.jobs}</a>
          <a href="/submit" data-testid="nav-submit" aria-current={here.at === "submit" ? "page" : undefined}>
            {words.nav.submit}
          </a>
        </nav>
        <span class="grow" />
        <Indicator link={feed.link.value} title={feed.trouble.value} />
        <LanguageSwitch />
        <span class="who" title={me.value?.user.name}>
          {me.value?.user.displayName || idOf(me.value?.user.name ?? "")}
        </span>
        <button type="button" class="plain" data-testid="sign-out" onClick={() => void signOut()}>
          {words.nav.signOut}
        </button>
      </header>
      <ClusterStrip />
      <main id="main" tabIndex={-1}>
        {here.at === "jobs" && <JobsView />}
        {here.at === "submit" && <SubmitView />}
        {here.at === "job" && <JobView key={here.name} name={here.name} />}
        {here.at === "nowhere" && <p class="empty">{words.nowhere}</p>}
      </main>
    </>
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
