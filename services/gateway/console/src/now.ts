import { signal } from "@preact/signals";

/** The present, to the second: what shows it is drawn anew with it. */
export const now = signal(Date.now());
setInterval(() => (now.value = Date.now()), 1000);
