// Whether what is shown is live: every stream of the page tells here how it is, and the header shows the worst.
import { computed, signal } from "@preact/signals";

export type Link = "connecting" | "live" | "reconnecting";

const lines = signal<ReadonlyMap<object, { link: Link; trouble: string }>>(new Map());

/** A stream's place in the picture, until it stops. */
export function link(stop: AbortSignal) {
  const key = {};
  const put = (next: { link: Link; trouble: string }) => {
    if (!stop.aborted) lines.value = new Map(lines.value).set(key, next);
  };
  const drop = () => {
    const rest = new Map(lines.value);
    rest.delete(key);
    lines.value = rest;
  };
  stop.addEventListener("abort", drop, { once: true });
  put({ link: "connecting", trouble: "" });
  return {
    is(next: Link) {
      const now = lines.value.get(key);
      if (now && now.link !== next) put({ link: next, trouble: next === "live" ? "" : now.trouble });
    },
    trouble(text: string) {
      const now = lines.value.get(key);
      if (now && now.trouble !== text) put({ ...now, trouble: text });
    },
  };
}

/** The worst of all; null where nothing is followed. */
export const overall = computed<Link | null>(() => {
  const all = [...lines.value.values()].map((line) => line.link);
  return (["reconnecting", "connecting", "live"] as const).find((each) => all.includes(each)) ?? null;
});
/** What the last break said, for who asks why it is not live. */
export const trouble = computed(() => [...lines.value.values()].find((line) => line.trouble)?.trouble ?? "");
