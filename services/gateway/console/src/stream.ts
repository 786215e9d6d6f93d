// What every long-lived stream here needs: back-off, waiting for somebody to look, and a watchdog.
import { signal } from "@preact/signals";

/** A hidden page lets its streams go after this long: browsers allow few connections to one host. */
const HIDDEN_AFTER_MS = 20_000;
const LONGEST_MS = 15_000;

/** Whether somebody may be looking. */
export const watched = signal(true);

let hiding: ReturnType<typeof setTimeout> | undefined;
const wakers = new Set<() => void>();

function wake() {
  for (const waker of wakers) waker();
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.visibilityState === "hidden") {
    hiding = setTimeout(() => (watched.value = false), HIDDEN_AFTER_MS);
  } else {
    watched.value = true;
    wake();
  }
});
window.addEventListener("online", wake);

/** Waits 0.4 s, 0.8 s … 15 s, with jitter; less when the network or the reader comes back. */
export function backoff(attempt: number, stop?: AbortSignal): Promise<void> {
  const longest = Math.min(LONGEST_MS, 400 * 2 ** attempt);
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      wakers.delete(done);
      stop?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, longest * (0.5 + Math.random() / 2));
    wakers.add(done);
    stop?.addEventListener("abort", done);
  });
}

/** Resolves once somebody may be looking, or on stop. */
export function untilWatched(stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const dispose = watched.subscribe((yes) => {
      if (!yes && !stop.aborted) return;
      queueMicrotask(() => dispose());
      resolve();
    });
    stop.addEventListener("abort", () => (dispose(), resolve()), { once: true });
  });
}

/** A signal for one connection: ends with `stop`, when the page is hidden, or when nothing was `heard` for `silentMs`. */
export function connection(stop: AbortSignal, silentMs: number) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  let timer = setTimeout(abort, silentMs);
  stop.addEventListener("abort", abort);
  const dispose = watched.subscribe((yes) => !yes && abort());
  return {
    signal: controller.signal,
    heard() {
      clearTimeout(timer);
      timer = setTimeout(abort, silentMs);
    },
    close() {
      clearTimeout(timer);
      stop.removeEventListener("abort", abort);
      dispose();
      abort();
    },
  };
}

export function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      stop.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    stop.addEventListener("abort", done);
    if (stop.aborted) done();
  });
}

/** Asks again and again while somebody looks, until stopped; `told` hears each answer and each refusal. */
export async function poll<T>(
  ask: (stop: AbortSignal) => Promise<T>,
  told: (answer: T | null, cause: unknown) => void,
  everyMs: number,
  stop: AbortSignal,
): Promise<void> {
  let attempt = 0;
  while (!stop.aborted) {
    await untilWatched(stop);
    if (stop.aborted) return;
    try {
      const answer = await ask(stop);
      if (stop.aborted) return;
      told(answer, null);
      attempt = 0;
      await pause(everyMs, stop);
    } catch (cause) {
      if (stop.aborted) return;
      told(null, cause);
      await backoff(attempt++, stop);
    }
  }
}
