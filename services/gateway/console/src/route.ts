// Where the reader is: a path and, for views that filter, a query. The gateway answers each path with the page.
import { signal } from "@preact/signals";

export type Place =
  | { at: "overview" }
  | { at: "jobs" }
  | { at: "job"; name: string }
  | { at: "submit" }
  | { at: "cluster" }
  | { at: "accounts" }
  | { at: "account"; name: string }
  | { at: "users" }
  | { at: "user"; name: string }
  | { at: "me" }
  | { at: "nowhere" };

const ROOMS = ["jobs", "submit", "cluster", "accounts", "users", "me"] as const;

export function parse(path: string): Place {
  const parts = path.split("/").filter(Boolean).map(decode);
  const [first, second, third] = parts;
  if (first === undefined) return { at: "overview" };
  const room = ROOMS.find((each) => each === first);
  if (room && parts.length === 1) return { at: room };
  if (room === "jobs" && parts.length === 3) return { at: "job", name: `accounts/${second}/jobs/${third}` };
  if (room === "accounts" && parts.length === 2) return { at: "account", name: `accounts/${second}` };
  if (room === "users" && parts.length === 2) return { at: "user", name: `users/${second}` };
  return { at: "nowhere" };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The last word of a resource name: the job's id, the user's, the account's. */
export const idOf = (name: string) => name.slice(name.lastIndexOf("/") + 1);
/** The account's id in any name below it. */
export const accountOf = (name: string) => name.split("/")[1] ?? "";
export const jobPath = (name: string) =>
  `/jobs/${encodeURIComponent(accountOf(name))}/${encodeURIComponent(idOf(name))}`;
export const accountPath = (name: string) => `/accounts/${encodeURIComponent(accountOf(name))}`;
export const userPath = (name: string) => `/users/${encodeURIComponent(idOf(name))}`;

export const place = signal<Place>({ at: "overview" });
/** What stands after "?", without it. */
export const query = signal("");

export function go(path: string) {
  history.pushState(null, "", path);
  arrive();
  window.scrollTo(0, 0);
}

/** Puts a filter into the address without a step in the history: typing is not travelling. */
export function note(next: URLSearchParams) {
  const text = next.toString();
  if (text === query.value) return;
  history.replaceState(null, "", location.pathname + (text && `?${text}`));
  query.value = text;
}

function arrive() {
  const next = parse(location.pathname);
  // The same place stays the same object, so that nothing is drawn anew for a change of the query.
  if (JSON.stringify(next) !== JSON.stringify(place.value)) place.value = next;
  query.value = location.search.slice(1);
}

export function startRouting() {
  window.addEventListener("popstate", arrive);
  document.addEventListener("click", (event) => {
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!plain || event.defaultPrevented || !link || link.target || link.hash || link.origin !== location.origin) return;
    event.preventDefault();
    const to = link.pathname + link.search;
    if (to !== location.pathname + location.search) go(to);
  });
  arrive();
}
