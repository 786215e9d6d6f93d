// The page as people use it: in Chromium, under the gateway's policy, over real gRPC-Web, against a mesh that is scripted.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { JobState } from "../../src/gen/crater/job/v1/resources_pb.js";
import type { StreamLogsRequest } from "../../src/gen/crater/job/v1/job_service_pb.js";
import { Mesh } from "../fake/mesh.js";
import { cluster, job } from "../fake/scene.js";
import { launch, signIn, visit } from "./browser.js";

const TRAIN = "accounts/vision/jobs/train";
let browser: Browser;
let mesh: Mesh;
let page: Page;
let faults: string[];

before(async () => {
  browser = await launch();
});
after(() => browser.close());
beforeEach(async () => {
  mesh = new Mesh();
  cluster(mesh);
  await mesh.start();
  ({ page, faults } = await visit(browser));
});
afterEach(async () => {
  await page.context().close();
  await mesh.stop();
  assert.deepEqual(faults, [], "the page's console stays clean");
});

const enter = async (path = "/") => {
  await page.goto(mesh.address + path);
  await signIn(page, mesh.user, mesh.password);
};
const row = (id: string) => page.getByTestId(`job-row-${id}`);
const state = (name: string) => page.locator(`[data-testid=job-state][data-state=${name}]`);
const calls = (method: string) => mesh.calls.filter((call) => call.method === method);
test("a wrong password is told, the right one lets in, and a reload keeps the session", async () => {
  await page.goto(mesh.address);
  await signIn(page, mesh.user, "wrong");
  await page.getByTestId("error").waitFor();
  await page.getByTestId("login-password").fill(mesh.password);
  await page.getByTestId("login-submit").click();
  await page.getByTestId("nav-submit").waitFor();
  const stored = await page.evaluate(() => ({ local: { ...localStorage }, session: { ...sessionStorage }, url: location.href, cookie: document.cookie }));
  assert.deepEqual([stored.local, stored.url, stored.cookie], [{}, `${mesh.address}/`, ""]);
  await page.reload();
  await page.getByTestId("nav-submit").waitFor();
  await page.getByTestId("sign-out").click();
  await page.getByTestId("login-submit").waitFor();
  assert.equal(calls("Logout").length, 1);
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test("a copied tab asks to sign in, and the first one keeps its session", async () => {
  await enter("/jobs");
  await page.getByTestId("nav-submit").waitFor();
  const stored = await page.evaluate(() => Object.entries(sessionStorage));
  const copy = await page.context().newPage();
  await copy.addInitScript((entries) => entries.forEach(([key, value]) => sessionStorage.setItem(key!, value!)), stored as string[][]);
  await copy.goto(mesh.address);
  await copy.getByTestId("login-submit").waitFor();
  assert.equal(calls("RefreshToken").length, 0);
  mesh.expireAccess();
  await page.getByTestId("nav-submit").click();
  await page.getByTestId("submit-command").fill("true");
  await page.getByTestId("submit-send").click();
  await state("queued").waitFor();
});

test("an access token that ends early is renewed once, for all calls that met it", async () => {
  mesh.jobs.put(job({ name: TRAIN, state: JobState.RUNNING }));
  await enter("/jobs");
  await row("train").waitFor();
  mesh.expireAccess();
  mesh.cut();
  mesh.jobs.put(job({ name: "accounts/vision/jobs/later", state: JobState.QUEUED }));
  await row("later").waitFor();
  assert.equal(calls("RefreshToken").length, 1);
});

test("a session that was revoked ends at the sign-in page", async () => {
  await enter("/jobs");
  await page.getByTestId("nav-submit").waitFor();
  mesh.revoke();
  await page.getByText("Your session has ended").waitFor();
});

test("jobs come, change and go without a reload, also across a broken stream", async () => {
  mesh.jobs.put(job({ name: TRAIN, state: JobState.QUEUED, message: "8 A100 are short" }));
  await enter("/jobs");
  await row("train").getByText("8 A100 are short").waitFor();
  mesh.jobs.change(TRAIN, (each) => (each.state = JobState.RUNNING));
  await row("train").getByText("Running").waitFor();
  await page.getByRole("banner").getByText("Live").waitFor();

  mesh.cut();
  mesh.jobs.put(job({ name: "accounts/speech/jobs/other", state: JobState.QUEUED }));
  mesh.jobs.remove(TRAIN);
  await row("other").waitFor();
  await row("train").waitFor({ state: "detached" });
  const watches = calls("WatchJobs").map(({ request }) => (request as { resumeToken: string }).resumeToken);
  assert.equal(watches[0], "");
  assert.notEqual(watches.at(-1), "", "a broken stream is resumed from its token");

  // What was forgotten without a word is gone after a resync.
  mesh.jobs.all.delete("accounts/speech/jobs/other");
  mesh.jobs.all.set(TRAIN, job({ name: TRAIN, state: JobState.SUCCEEDED }));
  mesh.jobs.resync();
  await row("train").waitFor();
  assert.equal(await row("other").count(), 0);
});

test("jobs are filtered by state and by text", async () => {
  mesh.jobs.put(job({ name: TRAIN, state: JobState.RUNNING }));
  mesh.jobs.put(job({ name: "accounts/speech/jobs/asr", state: JobState.FAILED, creator: "bo" }));
  await enter("/jobs");
  await row("asr").waitFor();
  await page.getByRole("button", { name: /^Failed/ }).click();
  await row("train").waitFor({ state: "detached" });
  await page.getByRole("button", { name: /^All/ }).click();
  await row("train").waitFor();
  await page.getByTestId("filter").fill("as");
  await row("train").waitFor({ state: "detached" });
  assert.equal(await row("asr").count(), 1);
});

test("a refused field is told at its control, and the corrected form makes the job", async () => {
  await enter("/submit");
  await page.getByTestId("submit-name").fill("Bad Name");
  await page.getByTestId("submit-command").fill("python train.py && echo done");
  await page.getByTestId("submit-gpus").fill("64");
  await page.getByTestId("submit-check").click();
  await page.getByTestId("error").waitFor();
  assert.match((await page.getByTestId("error-gpus").textContent()) ?? "", /no node has 64 GPUs/);
  assert.match((await page.getByTestId("error-name").textContent()) ?? "", /lower-case/);
  assert.equal(await page.evaluate(() => document.activeElement?.id), "submit-name");
  assert.equal(await page.getByTestId("submit-gpus").getAttribute("aria-invalid"), "true");

  mesh.cluster.outcome = { starts: true, message: "It would start at once.", placements: [{ node: "gpu-a-02" }] };
  await page.getByTestId("submit-name").fill("train");
  await page.getByTestId("submit-gpus").fill("2");
  await page.getByTestId("submit-check").click();
  await page.getByText("would be accepted").waitFor();
  await page.getByTestId("rehearsal").getByText("It would start at once. gpu-a-02").waitFor();
  assert.equal(mesh.jobs.created.length, 0, "a check writes nothing");
  await page.getByTestId("submit-send").click();
  await state("queued").waitFor();
  assert.equal(new URL(page.url()).pathname, "/jobs/vision/train");
  const [made] = mesh.jobs.created;
  assert.deepEqual(made?.job?.spec?.roles[0]?.command, ["/bin/sh", "-c", "python train.py && echo done"]);
  assert.equal(made?.job?.spec?.roles[0]?.resources?.gpuMillis, 2000n);
});

test("submitting again after a lost answer creates the job once", async () => {
  await enter("/submit");
  await page.getByTestId("submit-name").fill("train");
  await page.getByTestId("submit-command").fill("true");
  mesh.jobs.loseNextAnswer = true;
  await page.getByTestId("submit-send").click();
  await page.getByText("created once").waitFor();
  await page.getByTestId("submit-send").click();
  await state("queued").waitFor();
  const ids = calls("CreateJob").map(({ request }) => (request as { requestId: string }).requestId);
  assert.equal(ids.length, 2);
  assert.equal(ids[0], ids[1]);
  assert.equal(mesh.jobs.created.length, 1);
});

test("one job tells its state, its reason, its events and its exit code as they change", async () => {
  mesh.jobs.put(job({ name: TRAIN, state: JobState.QUEUED, reason: "AccountLimit", message: "account vision is 2 GPUs over its limit" }));
  mesh.jobs.happened(TRAIN, "Submitted", "by alice");
  await enter("/jobs/vision/train");
  await state("queued").waitFor();
  await page.getByTestId("job-why").getByText("2 GPUs over").waitFor();
  await page.getByText("Number 2 in the queue").waitFor();
  await page.getByTestId("forecast").getByText(/Likely to start in 10m.* \(p50\), in 2h.* \(p90\)\. A guess/).waitFor();
  mesh.cluster.remedies = [{ message: "with 1 replica of worker instead of 2" }];
  await page.getByTestId("look-for-remedies").click();
  await page.getByTestId("remedies").getByText("with 1 replica of worker instead of 2").waitFor();
  mesh.jobs.happened(TRAIN, "Allocated", "1 replica on gpu-a-01");
  mesh.jobs.change(TRAIN, (each) => Object.assign(each, { state: JobState.RUNNING, nodes: ["gpu-a-01"] }));
  await state("running").waitFor();
  await page.getByTestId("events").getByText("1 replica on gpu-a-01").waitFor();
  mesh.jobs.change(TRAIN, (each) => Object.assign(each, { state: JobState.FAILED, exitCode: 3 }));
  await state("failed").waitFor();
  assert.equal(await page.getByTestId("job-exit-code").textContent(), "3");
});

test("the log follows, survives a break without doubling a line, and ends with the job", async () => {
  mesh.jobs.put(job({ name: TRAIN, state: JobState.RUNNING, replicas: 2 }));
  const moment = { seconds: 1_700_000_000n, nanos: 5 };
  mesh.jobs.write(TRAIN, "first", 0, { ...moment } as never);
  mesh.jobs.write(TRAIN, "same moment", 0, { ...moment } as never);
  mesh.jobs.write(TRAIN, "hello from one", 1, { ...moment } as never);
  await enter("/jobs/vision/train");
  const log = page.getByTestId("log");
  await log.getByText("hello from one").waitFor();
  mesh.cut();
  mesh.jobs.write(TRAIN, "after the break", 1);
  await log.getByText("after the break").waitFor();
  mesh.jobs.write(TRAIN, "<b>last</b>", 0);
  mesh.jobs.change(TRAIN, (each) => (each.state = JobState.SUCCEEDED));
  await page.getByRole("region", { name: "Log" }).getByText("Complete").waitFor();
  assert.deepEqual((await log.textContent())?.trimEnd().split("\n"), [
    "worker-0 first",
    "worker-0 same moment",
    "worker-1 hello from one",
    "worker-1 after the break",
    "worker-0 <b>last</b>",
  ]);
  const requests = calls("StreamLogs").map(({ request }) => request as StreamLogsRequest);
  assert.equal(requests[0]?.sinceTime, undefined);
  assert.ok(requests[1]?.sinceTime, "a broken stream is resumed by time");
});

test("a reader who scrolls up is left in peace", async () => {
  mesh.jobs.put(job({ name: TRAIN, state: JobState.RUNNING }));
  for (let line = 0; line < 400; line++) mesh.jobs.write(TRAIN, `line ${line}`);
  await enter("/jobs/vision/train");
  const log = page.getByTestId("log");
  const fromEnd = () => log.evaluate((view) => view.scrollHeight - view.scrollTop - view.clientHeight);
  await log.getByText("line 399").waitFor();
  assert.ok((await fromEnd()) < 24);
  await log.hover();
  await page.mouse.wheel(0, -1500);
  await page.waitForFunction(() => !document.querySelector<HTMLInputElement>(".check input")?.checked);
  const top = await log.evaluate((view) => view.scrollTop);
  mesh.jobs.write(TRAIN, "one more");
  await log.getByText("one more").waitFor({ state: "attached" });
  assert.equal(await log.evaluate((view) => view.scrollTop), top);
  await page.getByLabel("Follow the end").check();
  assert.ok((await fromEnd()) < 24);
});

test("a job is cancelled, then deleted, each only after a second press", async () => {
  mesh.jobs.put(job({ name: TRAIN, state: JobState.RUNNING }));
  await enter("/jobs/vision/train");
  await page.getByTestId("job-cancel").click();
  assert.equal(calls("CancelJob").length, 0);
  await page.getByTestId("job-cancel").click();
  await page.getByTestId("job-state").getByText("Cancelling").waitFor();
  mesh.jobs.change(TRAIN, (each) => (each.state = JobState.CANCELLED));
  await page.getByTestId("job-delete").click();
  await page.getByTestId("job-delete").click();
  await page.getByText("No jobs yet.").waitFor();
  assert.equal(mesh.jobs.all.size, 0);
});

test("the language switches everything at once and is remembered", async () => {
  await enter("/jobs");
  await page.getByText("No jobs yet.").waitFor();
  await page.getByTestId("language").click();
  await page.getByText("还没有作业").waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.lang), "zh-CN");
  await page.reload();
  await page.getByText("还没有作业").waitFor();
  await page.getByTestId("language").click();
  await page.getByText("No jobs yet.").waitFor();
});

test("a browser that speaks Chinese is met in Chinese", async () => {
  const { page: other } = await visit(browser, { locale: "zh-CN" });
  await other.goto(mesh.address);
  await other.getByRole("heading", { name: "Crater" }).waitFor();
  assert.equal(await other.getByTestId("login-submit").textContent(), "登录");
  await other.context().close();
});

test("the keyboard alone signs in, submits and reaches the job", async () => {
  await page.goto(mesh.address);
  await page.waitForFunction(() => document.activeElement?.id === "user");
  await page.keyboard.type(mesh.user);
  await page.keyboard.press("Tab");
  await page.keyboard.type(mesh.password);
  await page.keyboard.press("Enter");
  await page.getByTestId("nav-submit").focus();
  await page.keyboard.press("Enter");
  await page.getByTestId("submit-command").focus();
  await page.keyboard.type("true");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await state("queued").waitFor();
  const unlabelled = await page.evaluate(
    () => [...document.querySelectorAll("input, select, textarea, button")].filter((each) => !(each as HTMLInputElement).labels?.length && !each.ariaLabel && !each.textContent).length,
  );
  assert.equal(unlabelled, 0);
});
