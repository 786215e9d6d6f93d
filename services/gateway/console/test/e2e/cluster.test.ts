// The cluster's map: who holds what, live; filters; what an admin does to a node; and a whole data centre in it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { JobState } from "../../src/gen/crater/job/v1/resources_pb.js";
import { cluster, grand, job, node, staff } from "../fake/scene.js";
import { house } from "./house.js";

const here = house((mesh) => {
  if (!large) cluster(mesh);
  staff(mesh);
  mesh.jobs.put(job({ name: "accounts/vision/jobs/resnet-ddp", state: JobState.RUNNING, gpus: 4, replicas: 2 }));
  mesh.jobs.put(job({ name: "accounts/vision/jobs/label-cleaning", state: JobState.RUNNING, gpus: 0.5, creator: "lin" }));
});
let large = false;
const tile = (name: string) => here.page.locator(`.tile[data-node="${name}"]`);
const cells = (name: string) => tile(name).locator("i").evaluateAll((all) => all.map((each) => each.className));

test("a GPU has the colour of who holds it, a share its height, a node its condition", async () => {
  await here.enter("/cluster");
  await tile("gpu-a-02").waitFor();
  assert.deepEqual(await cells("gpu-a-02"), ["mine", "mine", "theirs", "theirs", "free", "free", "ours", "free"]);
  const share = tile("gpu-a-02").locator("i").nth(6);
  assert.equal(await share.evaluate((each) => (each as HTMLElement).style.getPropertyValue("--fill")), "50%");
  for (const [name, condition] of [["gpu-a-01", "open"], ["gpu-a-03", "cordoned"], ["gpu-h-03", "draining"], ["gpu-h-04", "down"]]) {
    assert.match((await tile(name!).getAttribute("class")) ?? "", new RegExp(`\\b${condition}\\b`));
  }
  assert.match((await tile("gpu-a-03").getAttribute("aria-label")) ?? "", /Cordoned/);
  assert.equal(await here.at("map-count").innerText(), "10 nodes · 9 jobs run, 3 wait");
});

test("the map lives: nodes change, come and go, also across a broken stream", async () => {
  const { mesh } = here;
  await here.enter("/cluster");
  await tile("gpu-t-01").waitFor();
  mesh.cluster.put(node("gpu-t-01", "T4", [[1000, "accounts/vision/jobs/resnet-ddp"], [0], [0], [0]]));
  await here.page.locator('.tile[data-node="gpu-t-01"] > .mine').waitFor();
  mesh.cluster.remove("gpu-a-04");
  await tile("gpu-a-04").waitFor({ state: "detached" });
  mesh.cut();
  mesh.cluster.put(node("gpu-new", "T4", [[0]]));
  await tile("gpu-new").waitFor();
  assert.equal(await tile("gpu-h-01").count(), 1);
});

test("a scheduler that cannot stream yet is asked instead", async () => {
  here.mesh.cluster.old = true;
  await here.enter("/cluster");
  await tile("gpu-a-01").waitFor();
  here.mesh.cluster.put(node("gpu-new", "T4", [[0]]));
  await tile("gpu-new").waitFor();
  assert.ok(here.calls("GetCluster").length >= 2);
});

test("the pointer and the focus tell; a press on a GPU goes to its job, a press on a node opens it", async () => {
  const { page, at } = here;
  await here.enter("/cluster");
  await tile("gpu-a-02").locator("i").nth(6).hover();
  await at("map-tip").getByText("vision/label-cleaning").waitFor();
  assert.match(await at("map-tip").innerText(), /gpu-a-02[\s\S]*GPU 6: My accounts, 50%/);
  await tile("gpu-a-02").locator("span").click();
  await at("node-panel").getByText("gpu-a-02").waitFor();
  assert.equal(here.query()["node"], "gpu-a-02");
  assert.equal(await at("cordon").count(), 0, "who is no admin rules no node");
  await tile("gpu-a-01").locator("i").first().click();
  await page.waitForURL(/\/jobs\/vision\/resnet-ddp/);
});

test("the keyboard walks the map and opens a node", async () => {
  const { page, at } = here;
  await here.enter("/cluster");
  await tile("gpu-a-01").focus();
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.evaluate(() => (document.activeElement as HTMLElement).dataset["node"]), "gpu-a-02");
  await page.keyboard.press("ArrowDown");
  assert.equal(await page.evaluate(() => (document.activeElement as HTMLElement).dataset["node"]), "gpu-h-02");
  await at("map-tip").getByText("speech/tts-finetune").waitFor();
  await page.keyboard.press("Enter");
  await at("node-panel").getByRole("link", { name: "speech/tts-finetune" }).first().waitFor();
  assert.equal(await page.locator(".tile[tabindex='0']").count(), 1, "one stop for the Tab key");
});

test("filters leave what fits, live in the address, and groups are by model, zone or rack", async () => {
  const { page, at } = here;
  const count = (text: string) => at("map-count").getByText(text, { exact: false }).waitFor();
  await here.enter("/cluster");
  await at("map-model").selectOption("A100");
  await count("4 of 10 nodes");
  await at("map-free").check();
  await count("2 of 10 nodes");
  await at("map-job").fill("label");
  await count("1 of 10 nodes");
  assert.deepEqual(await cells("gpu-a-02"), ["mine off", "mine off", "theirs off", "theirs off", "free off", "free off", "ours", "free off"]);
  await page.reload();
  await count("1 of 10 nodes");
  assert.deepEqual(here.query(), { model: "A100", free: "1", job: "label" });
  await page.goto(`${here.mesh.address}/cluster?closed=1&group=rack`);
  await count("3 of 10 nodes");
  assert.deepEqual(await page.locator(".district [class=head] b").allInnerTexts(), ["r02", "r12"]);
  await at("map-closed").uncheck();
  await at("map-group").selectOption("zone");
  await page.getByRole("group", { name: "hall-2" }).waitFor();
  await at("map-name").fill("no such node");
  await page.getByText("No node matches.").waitFor();
});

test("an admin cordons with a reason, opens again, and sees before a drain which jobs would move", async () => {
  const { page, at } = here;
  await here.enter("/cluster?node=gpu-a-02", "root");
  await at("cordon").click();
  await at("close-reason").fill("x".repeat(257));
  await at("close-send").click();
  await page.getByText("at most 256 characters").waitFor();
  await at("close-reason").fill("a fan is loud");
  await at("close-send").click();
  await at("node-condition").getByText("Cordoned").waitFor();
  await at("node-panel").getByText("a fan is loud").waitFor();
  await at("uncordon").click();
  await at("node-condition").getByText("Open").waitFor();
  await at("drain").click();
  await at("drain-jobs").getByText("2 jobs would move:").waitFor();
  await at("drain-jobs").getByText("vision/resnet-ddp").waitFor();
  assert.ok(here.calls("DrainNode").every((request) => (request as { validateOnly: boolean }).validateOnly), "nothing was drained yet");
  await page.keyboard.press("Escape");
  await at("close-node").waitFor({ state: "detached" });
  await at("drain").click();
  await at("close-send").click();
  await at("node-condition").getByText("Draining").waitFor();
  assert.equal((here.calls("DrainNode").at(-1) as { validateOnly: boolean }).validateOnly, false);
});

test("1,523 nodes and 6,212 GPUs are painted within a second, and changes touch only what changed", async () => {
  large = true;
  const { mesh, page } = here;
  for (const name of ["gpu-a-01", "gpu-a-02", "gpu-a-03", "gpu-a-04", "gpu-h-01", "gpu-h-02", "gpu-h-03", "gpu-h-04", "gpu-t-01", "cpu-01"]) mesh.cluster.remove(name);
  grand(mesh);
  await here.enter("/me");
  await page.evaluate(() => {
    const seen = { since: 0, drawn: 0, painted: 0 };
    Object.assign(globalThis, { seen });
    document.addEventListener("click", () => (seen.since = performance.now()), { capture: true, once: true });
    new MutationObserver((_, observer) => {
      if (document.getElementsByClassName("tile").length < 1523) return;
      observer.disconnect();
      seen.drawn = performance.now();
      // The frame after the next one begins when this one was painted.
      requestAnimationFrame(() => requestAnimationFrame(() => (seen.painted = performance.now())));
    }).observe(document.body, { childList: true, subtree: true });
  });
  // Other work on this machine lengthens the clock's time, not the page's own.
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Performance.enable", { timeDomain: "threadTicks" });
  const work = async () => Object.fromEntries((await cdp.send("Performance.getMetrics")).metrics.map(({ name, value }) => [name, value * 1000]));
  const before = await work();
  await here.at("nav-cluster").click();
  await page.waitForFunction(() => (globalThis as unknown as { seen: { painted: number } }).seen.painted > 0);
  const seen = await page.evaluate(() => (globalThis as unknown as { seen: { since: number; drawn: number; painted: number } }).seen);
  const gpus = await page.locator(".tile > i:not(.none)").count();
  assert.equal(gpus, 6212);
  const after = await work();
  const known = await page.evaluate(() => performance.getEntriesByName("cluster-known").at(-1)!.startTime);
  const spent = (name: string) => after[name]! - before[name]!;
  console.log(
    `# map of 1,523 nodes: the page worked ${spent("TaskDuration").toFixed(0)} ms (script ${spent("ScriptDuration").toFixed(0)}, layout ${spent("LayoutDuration").toFixed(0)}, style ${spent("RecalcStyleDuration").toFixed(0)}); ` +
      `on the clock ${(seen.painted - known).toFixed(0)} ms from the last node to the paint, ${(seen.painted - seen.since).toFixed(0)} ms from the press`,
  );
  assert.ok(spent("TaskDuration") < 1000, `the page worked ${spent("TaskDuration").toFixed(0)} ms`);

  // Two hundred nodes change at once: nothing else is touched, and no frame takes long.
  await page.evaluate(() => {
    const touched = new Set<string>();
    Object.assign(globalThis, { touched, longest: 0 });
    new MutationObserver((all) => all.forEach(({ target }) => touched.add((target as Element).closest<HTMLElement>(".tile")?.dataset["node"] ?? ""))).observe(
      document.querySelector("[role=listbox]")!, { subtree: true, attributes: true, attributeFilter: ["class", "style"] },
    );
    new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => Object.assign(globalThis, { longest: Math.max((globalThis as unknown as { longest: number }).longest, duration) }))).observe({ type: "longtask" });
  });
  for (let n = 0; n < 200; n++) mesh.cluster.put(node(`node-${String(n).padStart(4, "0")}`, "G2", Array.from({ length: 8 }, () => [330])));
  await page.waitForFunction(() => document.querySelectorAll(".tile > i[style*='33%']").length >= 1600);
  const [touched, longest] = await page.evaluate(() => {
    const all = globalThis as unknown as { touched: Set<string>; longest: number };
    return [[...all.touched].filter(Boolean).length, all.longest] as const;
  });
  console.log(`# 200 nodes changed: ${touched} tiles touched, longest task ${longest.toFixed(0)} ms`);
  assert.ok(touched <= 200);
  assert.ok(longest < 300, `a task took ${longest} ms`);
});
