// Every page for everybody: nothing that axe finds fault with, in light and dark, and in both languages.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import type { AxeResults } from "axe-core";
import { lab } from "../fake/scene.js";
import { house } from "./house.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Path, what stands there when it is whole, and what is pressed to open the rest. */
const PAGES: [path: string, ready: string, press?: string, opens?: string][] = [
  ["/", "my-account-ai"],
  ["/jobs", "job-row-resnet-ddp"],
  ["/jobs/vision/resnet-ddp", "usage-spans"],
  ["/jobs/vision/vit-large-pretrain", "job-why"],
  ["/jobs/vision/vit-large-pretrain", "job-change", "job-change", "change-job"],
  ["/submit", "submit-send", "submit-send", "error"],
  ["/cluster?node=gpu-a-02", "node-panel"],
  ["/cluster?node=gpu-a-02", "drain", "drain", "drain-jobs"],
  ["/accounts", "account-vision"],
  ["/accounts/vision", "member-mira"],
  ["/accounts/vision", "quota-edit", "quota-edit", "quota-editor"],
  ["/accounts/vision", "member-add", "member-add", "add-member"],
  ["/users", "user-mira"],
  ["/users", "user-create", "user-create", "create-user"],
  ["/users/mira", "user-suspend"],
  ["/users/mira", "user-delete", "user-delete", "delete-user"],
  ["/me", "self-send"],
  ["/nothing-here", "nav-jobs"],
];

for (const [colorScheme, locale] of [["light", "en-US"], ["dark", "zh-CN"]] as const) {
  describe(`${colorScheme}, ${locale}`, () => {
    const here = house(lab, { colorScheme, locale, reducedMotion: "reduce" });
    test("axe finds no fault on any page", async () => {
      const { page, at } = here;
      await page.goto(here.mesh.address);
      await at("login-submit").waitFor();
      const found = new Map<string, string[]>([["sign in", await faultsOf(page)]]);
      await here.enter("/", "root");
      for (const [path, ready, press, opens] of PAGES) {
        await page.evaluate((next) => {
          history.pushState(null, "", next);
          dispatchEvent(new PopStateEvent("popstate"));
        }, path);
        await at(ready).first().waitFor();
        if (press) await at(press).click();
        if (opens) await at(opens).first().waitFor();
        found.set(`${path} ${opens ?? ""}`, await faultsOf(page));
        if (opens) await page.keyboard.press("Escape");
      }
      assert.deepEqual([...found].filter(([, faults]) => faults.length > 0), []);
    });
  });
}

async function faultsOf(page: import("playwright-core").Page): Promise<string[]> {
  // Through the debugger, as the policy of the page allows no script that it did not bring along.
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(AXE);
  const results = await page.evaluate(() => (globalThis as unknown as { axe: { run(options: object): Promise<AxeResults> } }).axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] }));
  return results.violations.flatMap(({ id, nodes }) => nodes.slice(0, 4).map((node) => `${id}: ${node.html.slice(0, 160)} ${node.failureSummary?.split("\n")[1] ?? ""}`));
}
