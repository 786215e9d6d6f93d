// Where the reader is: /, /submit, /jobs/{account}/{job}. The gateway answers each of them with the page.
import { signal } from "@preact/signals";

export type Place = { at: "jobs" } | { at: "submit" } | { at: "job"; name: string } | { at: "nowhere" };

export function parse(path: string): Place {
  const parts = path.split("/").filter(Boolean).map(decode);
  if (parts.length === 0 || (parts.length === 1 && parts[0] === "jobs")) return { at: "jobs" };
  if (parts.length === 1 && parts[0] === "submit") return { at: "submit" };
  if (parts.length === 3 && parts[0] === "jobs") return { at: "job", name: `accounts/${parts[1]}/jobs/${parts[2]}` };
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

export const place = signal<Place>({ at: "jobs" });

export function go(path: string) {
  history.pushState(null, "", path);
  arrive();
  window.scrollTo(0, 0);
}

function arrive() {
  place.value = parse(location.pathname);
}

export function startRouting() {
  window.addEventListener("popstate", arrive);
  document.addEventListener("click", (event) => {
    const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!plain || event.defaultPrevented || !link || link.target || link.hash || link.origin !== location.origin) return;
    event.preventDefault();
    if (link.pathname !== location.pathname) go(link.pathname);
  });
  arrive();
}
