// Which language the page speaks: the reader's choice, else the browser's.
import { computed, effect, signal } from "@preact/signals";
import { en, type Texts } from "./en.js";
import { zh } from "./zh.js";

export const dictionaries = { en, zh } satisfies Record<string, Texts>;
export type Language = keyof typeof dictionaries;

const KEY = "crater.language";

function first(): Language {
  const chosen = localStorage.getItem(KEY);
  if (chosen === "en" || chosen === "zh") return chosen;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export const language = signal<Language>(first());
/** The words. Read `t.value` while rendering, and a switch of the language redraws what shows them. */
export const t = computed<Texts>(() => dictionaries[language.value]);
/** For dates and `<html lang>`. */
export const locale = computed(() => (language.value === "zh" ? "zh-CN" : "en"));

export function choose(next: Language) {
  localStorage.setItem(KEY, next);
  language.value = next;
}

effect(() => {
  document.documentElement.lang = locale.value;
});
