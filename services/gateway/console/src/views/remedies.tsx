// What would start a job that waits: looked for when asked, since each way is tried on a copy of the cluster.
import { useState } from "preact/hooks";
import type { Remedy, SimulateResponse } from "../gen/crater/scheduling/v1/scheduling_service_pb.js";
import { t } from "../i18n/index.js";
import { problem, type Problem } from "../problem.js";
import { scheduling } from "../session.js";
import { Trouble } from "./parts.js";

/** A button, and what it finds. */
export function Remedies({ name }: { name: string }) {
  const words = t.value.job;
  const [found, find] = useState<Remedy[] | "looking" | null>(null);
  const [refused, refuse] = useState<Problem | null>(null);
  const look = () => {
    find("looking");
    refuse(null);
    scheduling
      .explainJob({ name, withRemedies: true })
      .then((answer) => find(answer.remedies))
      .catch((cause: unknown) => {
        find(null);
        refuse(problem(cause));
      });
  };
  return (
    <div aria-live="polite" data-testid="remedies">
      {Array.isArray(found) && <RemedyList all={found} />}
      <p>
        <button type="button" disabled={found === "looking"} onClick={look} data-testid="look-for-remedies">
          {found === "looking" ? words.looking : words.remedies}
        </button>
      </p>
      {refused && <Trouble problem={refused} />}
    </div>
  );
}

export function RemedyList({ all }: { all: Remedy[] }) {
  const words = t.value.job;
  if (all.length === 0) return <p class="quiet">{words.noRemedy}</p>;
  return (
    <>
      <p>{words.wouldStart}</p>
      <ul>
        {all.map((remedy) => <li key={remedy.message}>{remedy.message}</li>)}
      </ul>
    </>
  );
}

/** What would come of a job that is not submitted yet. */
export function Rehearsal({ answer }: { answer: SimulateResponse }) {
  const outcome = answer.job;
  if (!outcome) return null;
  const nodes = [...new Set(outcome.placements.map(({ node }) => node))];
  return (
    <div data-testid="rehearsal">
      <p>
        {outcome.message} {nodes.length > 0 && <span class="quiet">{nodes.join(", ")}</span>}
      </p>
      {!outcome.starts && <RemedyList all={outcome.remedies} />}
    </div>
  );
}
