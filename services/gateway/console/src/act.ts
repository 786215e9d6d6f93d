// One thing that the reader asks for: busy while it is under way, a problem when it is refused. One intent has one
// request_id, so that asking again after a lost answer does it once.
import { useRef, useState } from "preact/hooks";
import { problem, unclear, type Problem } from "./problem.js";
import { uuid } from "./rpc.js";

export interface Act {
  busy: boolean;
  refused: Problem | null;
  /** Whether it was done. A refusal is kept in `refused`, and given to `told` first. */
  run(call: (requestId: string) => Promise<unknown>, told?: (problem: Problem) => void): Promise<boolean>;
  /** The next try is another intent. */
  anew(): void;
}

export function useAct(): Act {
  const [busy, setBusy] = useState(false);
  const [refused, refuse] = useState<Problem | null>(null);
  const intent = useRef("");
  return {
    busy,
    refused,
    async run(call, told) {
      setBusy(true);
      refuse(null);
      intent.current ||= uuid();
      try {
        await call(intent.current);
        intent.current = "";
        return true;
      } catch (cause) {
        const found = problem(cause);
        if (!unclear(found.code)) intent.current = "";
        told?.(found);
        refuse(found);
        return false;
      } finally {
        setBusy(false);
      }
    },
    anew() {
      intent.current = "";
      refuse(null);
    },
  };
}
