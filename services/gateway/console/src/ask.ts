// What is asked for again and again while a view shows it.
import { useEffect, useRef, useState } from "preact/hooks";
import { problem, type Problem } from "./problem.js";
import { poll } from "./stream.js";

export interface Asked<T> {
  /** The last answer; null before the first. */
  answer: T | null;
  /** Why there is no newer one. */
  refused: Problem | null;
  /** Asks at once: something was changed. */
  again(): void;
}

export function useAsked<T>(ask: (stop: AbortSignal) => Promise<T>, everyMs: number, of: unknown[]): Asked<T> {
  const key = JSON.stringify(of);
  const [state, setState] = useState<{ key: string; answer: T | null; refused: Problem | null }>({ key, answer: null, refused: null });
  const [round, setRound] = useState(0);
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    const stop = new AbortController();
    const told = (answer: T | null, cause: unknown) =>
      setState((before) => ({
        key,
        answer: answer ?? (before.key === key ? before.answer : null),
        refused: cause === null ? null : problem(cause),
      }));
    void poll((signal) => latest.current(signal), told, everyMs, stop.signal);
    return () => stop.abort();
  }, [key, round]);
  // An answer about something else is none.
  const mine = state.key === key;
  return { answer: mine ? state.answer : null, refused: mine ? state.refused : null, again: () => setRound((n) => n + 1) };
}

const PAGES = 50;

/** All pages of a list, as far as a person can look through them. */
export async function pages<T>(page: (pageToken: string) => Promise<{ items: T[]; nextPageToken: string }>): Promise<T[]> {
  const out: T[] = [];
  let token = "";
  for (let n = 0; n < PAGES; n++) {
    const { items, nextPageToken } = await page(token);
    out.push(...items);
    token = nextPageToken;
    if (!token) break;
  }
  return out;
}
