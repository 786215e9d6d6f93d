// Quota as bars: what is used inside the guarantee, what is borrowed, best effort apart, and where the limits are.
import type { Quota } from "../gen/crater/quota/v1/quota_service_pb.js";
import { t } from "../i18n/index.js";
import { measures, modelOf, say, type Measure } from "../quota.js";

export function Bars({ quota, only }: { quota: Quota; only?: (resource: string) => boolean }) {
  const words = t.value.quota;
  const rows = measures(quota).filter(({ resource }) => !only || only(resource));
  if (rows.length === 0) return <p class="quiet">{words.unlimited}</p>;
  return (
    <ul class={quota.usageKnown ? "bars" : "bars unknown"}>
      {rows.map((row) => <Bar key={row.resource} row={row} known={quota.usageKnown} />)}
    </ul>
  );
}

export function resourceName(resource: string): string {
  const words: Record<string, string> = t.value.quota.resources;
  return modelOf(resource) || (words[resource] ?? resource);
}

function Bar({ row, known }: { row: Measure; known: boolean }) {
  const words = t.value.quota;
  const part = (amount: bigint) => `${(Number(amount) / Number(row.full)) * 100}%`;
  const held = row.within + row.borrowed;
  const tell = (amount: bigint) => say(row.resource, amount);
  const details = [
    known && words.used(tell(held)),
    row.guaranteed !== undefined && words.guaranteed(tell(row.guaranteed)),
    known && row.borrowed > 0n && words.borrowed(tell(row.borrowed)),
    known && row.bestEffort > 0n && words.bestEffort(tell(row.bestEffort)),
    row.limit === undefined ? words.noLimit : words.limit(tell(row.limit)),
  ].filter((text): text is string => typeof text === "string");
  const full = row.limit !== undefined && held >= row.limit;
  return (
    <li class="bar-row" title={details.join(" · ")} data-resource={row.resource}>
      <span class="bar-name">{resourceName(row.resource)}</span>
      <span class={full ? "bar-figures full" : "bar-figures"}>
        <b>{known ? tell(held) : "?"}</b>
        {row.limit !== undefined ? ` / ${tell(row.limit)}` : row.guaranteed !== undefined ? ` / ${tell(row.guaranteed)}` : ""}
      </span>
      <span class="track" role="img" aria-label={`${resourceName(row.resource)}: ${details.join(", ")}`}>
        {known && (
          <>
            <i class="within" style={{ width: part(row.within) }} />
            <i class="borrowed" style={{ width: part(row.borrowed) }} />
            <i class="best-effort" style={{ width: part(row.bestEffort) }} />
          </>
        )}
        {row.guaranteed !== undefined && row.guaranteed > 0n && <i class="owed" style={{ left: part(row.guaranteed) }} />}
        {row.limit !== undefined && row.limit < row.full && <i class="cap" style={{ left: part(row.limit) }} />}
      </span>
    </li>
  );
}

export function BarLegend() {
  const words = t.value.quota.legend;
  return (
    <ul class="legend">
      {(["within", "borrowed", "bestEffort", "owed"] as const).map((each) => (
        <li key={each}><i class={`swatch ${each === "bestEffort" ? "best-effort" : each}`} aria-hidden="true" /> {words[each]}</li>
      ))}
    </ul>
  );
}
