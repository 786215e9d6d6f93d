// What concerns the reader at a glance: one's jobs, what waits and why, what one's accounts use, how full the cluster is.
import { useMemo } from "preact/hooks";
import { useAsked } from "../ask.js";
import { useCluster } from "../cluster.js";
import { ms, span, thousandths } from "../format.js";
import { t } from "../i18n/index.js";
import { ANY } from "../jobfilter.js";
import { useJobs } from "../joblist.js";
import { now } from "../now.js";
import { useQuotas } from "../people.js";
import { totals } from "../picture.js";
import { ownerOf } from "../quota.js";
import { accountOf, accountPath, idOf, jobPath } from "../route.js";
import { me, scheduling } from "../session.js";
import { BarLegend, Bars } from "./bars.js";
import { JobTable } from "./jobtable.js";
import { Trouble, useTitle } from "./parts.js";

const MY_JOBS = 10;
const WAITING = 8;
const QUEUE_MS = 4_000;

export function Overview() {
  useTitle(t.value.overview.heading);
  return (
    <div class="overview">
      <h1 class="unseen">{t.value.overview.heading}</h1>
      <div class="side">
        <MyJobs />
        <Queue />
      </div>
      <div class="side">
        <Fill />
        <MyAccounts />
      </div>
    </div>
  );
}

function MyJobs() {
  const words = t.value.overview;
  const user = idOf(me.value?.user.name ?? "");
  const wanted = useMemo(() => ({ ...ANY, user }), [user]);
  const list = useJobs(wanted, MY_JOBS);
  const rows = list.rows.value;
  return (
    <section class="panel flush" aria-label={words.myJobs}>
      <div class="panel-head">
        <h2>{words.myJobs}</h2>
        <span class="grow" />
        <a href={`/jobs?user=${encodeURIComponent(user)}`}>{words.allMine}</a>
      </div>
      <Trouble problem={list.refused.value} />
      {rows === null ? (
        <p class="empty" role="status">{t.value.jobs.loading}</p>
      ) : rows.length === 0 ? (
        <p class="empty">{t.value.jobs.none} <a href="/submit">{t.value.jobs.noneHint}</a></p>
      ) : (
        <JobTable rows={rows.slice(0, MY_JOBS)} brief />
      )}
    </section>
  );
}

function Queue() {
  const words = t.value.overview;
  const asked = useAsked((signal) => scheduling.listQueue({ parent: "accounts/-", pageSize: WAITING }, { signal }), QUEUE_MS, []);
  const entries = asked.answer?.entries;
  return (
    <section class="panel" aria-label={words.waits}>
      <div class="panel-head">
        <h2>{words.waits}</h2>
        <span class="grow" />
        <a href="/jobs?state=queued">{words.allWaiting}</a>
      </div>
      <Trouble problem={asked.refused} />
      {!entries ? (
        !asked.refused && <p class="quiet" role="status">{t.value.parts.loading}</p>
      ) : entries.length === 0 ? (
        <p class="quiet">{words.nothingWaits}</p>
      ) : (
        <ol class="queue" data-testid="queue">
          {entries.map((entry) => (
            <li key={entry.job}>
              <span class="place" title={t.value.job.position(entry.position)}>{entry.position}</span>
              <a href={jobPath(entry.job)}><span class="quiet">{accountOf(entry.job)}/</span>{idOf(entry.job)}</a>
              <span class="figure quiet">{words.gpus(thousandths(entry.requested?.gpuMillis ?? 0n))}</span>
              <span class="figure quiet">{span(ms(entry.queueTime), now.value)}</span>
              <p>{entry.blocker?.message || entry.blocker?.reason || words.goesSoon}</p>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}

function MyAccounts() {
  const words = t.value.overview;
  const asked = useQuotas("accounts/-");
  const mine = me.value?.memberships.map((each) => accountOf(each.account)) ?? [];
  const own = (asked.answer ?? []).filter(({ name }) => !ownerOf(name).user && mine.includes(ownerOf(name).account));
  return (
    <section class="panel" aria-label={words.myAccounts}>
      <div class="panel-head">
        <h2>{words.myAccounts}</h2>
        <span class="grow" />
        <BarLegend />
      </div>
      <Trouble problem={asked.refused} />
      {mine.length === 0 ? (
        <p class="quiet">{t.value.submit.noAccount}</p>
      ) : !asked.answer ? (
        !asked.refused && <p class="quiet" role="status">{t.value.parts.loading}</p>
      ) : (
        <ul class="stack">
          {own.map((quota) => {
            const { account } = ownerOf(quota.name);
            return (
              <li key={quota.name} data-testid={`my-account-${account}`}>
                <h3><a href={accountPath(quota.name)}>{account}</a></h3>
                <Bars quota={quota} />
              </li>
            );
          })}
        </ul>
      )}
    </section>
  );
}

function Fill() {
  const words = t.value.overview;
  const known = useCluster();
  const rows = known ? totals(known.nodes.values()) : [];
  return (
    <section class="panel" aria-label={words.cluster} data-testid="cluster-fill">
      <div class="panel-head">
        <h2>{words.cluster}</h2>
        {known && <span class="quiet">{t.value.map.nodes(known.nodes.size)} · {t.value.map.jobs(known.runningJobs, known.waitingJobs)}</span>}
        <span class="grow" />
        <ul class="legend">
          {(["ours", "theirs"] as const).map((each) => <li key={each}><i class={`swatch ${each}`} aria-hidden="true" /> {t.value.map.holder[each]}</li>)}
        </ul>
        <a href="/cluster">{words.toMap}</a>
      </div>
      {!known ? (
        <p class="quiet" role="status">{t.value.parts.loading}</p>
      ) : rows.length === 0 ? (
        <p class="quiet">{words.noGpus}</p>
      ) : (
        <ul class="bars">
          {rows.map(({ model, free, ours, held, total }) => (
            <li class="bar-row" key={model}>
              <a class="bar-name" href={`/cluster?model=${encodeURIComponent(model)}`}>{model || "GPU"}</a>
              <span class="bar-figures">{t.value.submit.free(thousandths(free), thousandths(total))}</span>
              <span class="track" role="img" aria-label={words.fill(model, thousandths(held), thousandths(total), thousandths(ours))}>
                <i class="ours" style={{ width: `${(Math.min(ours, held) / total) * 100}%` }} />
                <i class="theirs" style={{ width: `${(Math.max(0, held - ours) / total) * 100}%` }} />
              </span>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
