// The list of jobs as a lab uses it: filters in the address, order, pages, and the page of one job.
import assert from "node:assert/strict";
import { test } from "node:test";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { ListJobsRequest, StreamLogsRequest, UpdateJobRequest, WatchJobsRequest } from "../../src/gen/crater/job/v1/job_service_pb.js";
import { JobState, ServiceClass } from "../../src/gen/crater/job/v1/resources_pb.js";
import { cluster, job, usage } from "../fake/scene.js";
import { house } from "./house.js";

const TRAIN = "accounts/vision/jobs/train";
const ASR = "accounts/speech/jobs/asr";
const here = house(cluster);
const row = (id: string) => here.at(`job-row-${id}`);
const ids = () => here.page.locator("tbody tr").evaluateAll((rows) => rows.map((each) => each.getAttribute("data-testid")?.slice("job-row-".length)));

test("every filter is sent, kept in the address, and cleared with one press", async () => {
  const { mesh, page, at } = here;
  mesh.jobs.put(Object.assign(job({ name: TRAIN, state: JobState.RUNNING, ageMinutes: 30 }), { labels: { project: "x" } }));
  mesh.jobs.put(job({ name: ASR, state: JobState.FAILED, creator: "bo", bestEffort: true, ageMinutes: 3000 }));
  await here.enter("/jobs");
  await row("asr").waitFor();
  await at("filter-account").selectOption("vision");
  await row("asr").waitFor({ state: "detached" });
  await at("filter-user").fill("alice");
  await at("filter-class").selectOption("guaranteed");
  await at("filter-label").fill("project=x");
  await at("filter").fill("rai");
  await at("filter-since").selectOption("day");
  await page.getByRole("button", { name: "Running" }).click();
  await page.waitForURL(/state=running/);
  // what was typed counts once the reader has gone on to the next field
  await row("train").waitFor();
  assert.deepEqual(here.query(), { state: "running", account: "vision", user: "alice", class: "guaranteed", label: "project=x", text: "rai", since: "day" });
  const asked = here.calls("ListJobs").at(-1) as ListJobsRequest;
  assert.equal(asked.parent, "accounts/vision");
  assert.deepEqual(asked.filter?.creators, ["users/alice"]);
  assert.deepEqual(asked.filter?.serviceClasses, [ServiceClass.GUARANTEED]);
  assert.deepEqual(asked.filter?.labels, { project: "x" });
  assert.equal(asked.filter?.idContains, "rai");
  assert.deepEqual(asked.filter?.states, [JobState.STARTING, JobState.RUNNING]);
  assert.ok(asked.filter?.createdAfter);
  // The same address shows the same jobs.
  await page.reload();
  await row("train").waitFor();
  assert.equal(await at("filter-label").inputValue(), "project=x");
  await at("filter-clear").click();
  await row("asr").waitFor();
  assert.deepEqual(here.query(), {});
});

test("the filter holds for what streams: jobs enter and leave the table as they change", async () => {
  const { mesh } = here;
  mesh.jobs.put(job({ name: TRAIN, state: JobState.QUEUED }));
  await here.enter("/jobs?state=queued");
  await row("train").waitFor();
  mesh.jobs.put(job({ name: ASR, state: JobState.QUEUED }));
  await row("asr").waitFor();
  mesh.jobs.change(TRAIN, (each) => (each.state = JobState.RUNNING));
  await row("train").waitFor({ state: "detached" });
  const filters = here.calls("WatchJobs").map((request) => (request as WatchJobsRequest).filter?.states);
  assert.ok(filters.every((states) => states?.length === 1 && states[0] === JobState.QUEUED), "the stream carries the filter");
});

test("a job that ends stays in the table of all, and one that was deleted elsewhere goes", async () => {
  const { mesh } = here;
  mesh.jobs.put(job({ name: TRAIN, state: JobState.RUNNING }));
  await here.enter("/jobs");
  await row("train").waitFor();
  mesh.jobs.change(TRAIN, (each) => (each.state = JobState.SUCCEEDED));
  await here.page.locator("[data-testid=job-row-train][data-state=succeeded]").waitFor();
  mesh.jobs.remove(TRAIN);
  await row("train").waitFor({ state: "detached" });
});

test("the order is the server's, and pages come on demand without doubling a job", async () => {
  const { mesh, page, at } = here;
  for (let n = 0; n < 130; n++) {
    mesh.jobs.put(Object.assign(job({ name: `accounts/vision/jobs/old-${n}`, state: JobState.SUCCEEDED, ageMinutes: 600 + n, ranMinutes: 1 })));
  }
  const high = job({ name: TRAIN, state: JobState.QUEUED, ageMinutes: 5 });
  high.spec!.priority = 9;
  mesh.jobs.put(high);
  await here.enter("/jobs");
  await row("old-0").waitFor();
  assert.equal((await ids())[0], "train", "the newest first");
  assert.equal(await row("old-120").count(), 0);
  await at("more").click();
  await row("old-120").waitFor();
  const shown = await ids();
  assert.equal(shown.length, 131);
  assert.equal(new Set(shown).size, 131);
  assert.equal(await at("more").count(), 0);
  await page.getByRole("button", { name: /^Age/ }).click();
  await page.waitForURL(/order=create_time/);
  await row("old-129").waitFor();
  assert.equal((await ids())[0], "old-129", "the oldest first");
  await page.getByRole("button", { name: /^Priority/ }).click();
  await page.waitForURL(/order=priority/);
  await here.until("the highest first", () => (here.calls("ListJobs").at(-1) as ListJobsRequest).orderBy === "priority desc");
  await row("train").waitFor();
  assert.equal((await ids())[0], "train");
  assert.equal(await page.locator("th[aria-sort=descending]").innerText(), "Priority ↓");
});

test("a filter that the server refuses is told, asked once, and gone when it is mended", async () => {
  const { mesh, page, at } = here;
  mesh.jobs.put(job({ name: TRAIN, state: JobState.RUNNING }));
  await here.enter("/jobs?text=no%20good");
  await at("error").getByText("must be letters, digits and hyphens of an id").waitFor();
  assert.equal(await page.getByRole("banner").getByText("Reconnecting").count(), 0, "the connection is not at fault");
  const asked = here.calls("ListJobs").length;
  await at("filter").fill("TRAI");
  await row("train").waitFor();
  assert.equal(await at("error").count(), 0);
  assert.equal(here.calls("ListJobs").length, asked + 1);
});

test("a list that is refused says why, and heals", async () => {
  const { mesh, at } = here;
  mesh.jobs.put(job({ name: TRAIN, state: JobState.RUNNING }));
  await here.enter("/me");
  mesh.away = true;
  await at("nav-jobs").click();
  await here.page.getByText("no service answers").first().waitFor();
  mesh.away = false;
  await row("train").waitFor();
  await at("error").waitFor({ state: "detached" });
});

test("a lost connection is said, and the word goes when it is back", async () => {
  const { mesh, at } = here;
  mesh.jobs.put(job({ name: TRAIN, state: JobState.QUEUED }));
  await here.enter("/jobs");
  await row("train").waitFor();
  mesh.away = true;
  mesh.cut();
  await at("lost").waitFor();
  await row("train").waitFor();
  mesh.away = false;
  mesh.jobs.change(TRAIN, (each) => (each.state = JobState.RUNNING));
  await here.page.locator("[data-testid=job-row-train][data-state=running]").waitFor({ timeout: 20_000 });
  await at("lost").waitFor({ state: "detached" });
});

test("a job is suspended after a second press, and resumed", async () => {
  const { mesh, at } = here;
  mesh.jobs.put(job({ name: TRAIN, state: JobState.RUNNING }));
  await here.enter("/jobs/vision/train");
  await at("job-suspend").click();
  assert.equal(here.calls("SuspendJob").length, 0);
  await at("job-suspend").click();
  await at("job-state").getByText("Suspended").waitFor();
  await at("job-resume").click();
  await at("job-state").getByText("Queued").waitFor();
  await at("job-suspend").waitFor();
});

test("a waiting job gets another priority and class; what is refused is told at its control", async () => {
  const { mesh, page, at } = here;
  mesh.jobs.put(job({ name: TRAIN, state: JobState.QUEUED }));
  await here.enter("/jobs/vision/train");
  await at("job-change").click();
  await at("change-priority").fill("5000");
  await at("change-send").click();
  await page.getByText("must be from -1000 to 1000").waitFor();
  assert.equal(await page.evaluate(() => (document.activeElement as HTMLElement).dataset["testid"]), "change-priority");
  await at("change-priority").fill("7");
  await at("change-class").selectOption("best-effort");
  await at("change-send").click();
  await at("change-job").waitFor({ state: "detached" });
  const sent = here.calls("UpdateJob").at(-1) as UpdateJobRequest;
  assert.deepEqual(sent.updateMask?.paths, ["spec.priority", "spec.service_class"]);
  assert.equal(mesh.jobs.find(TRAIN).spec?.priority, 7);
  await page.getByText("Best effort").waitFor();
});

test("the log of one replica and of an earlier attempt, with what is missing told", async () => {
  const { mesh, page, at } = here;
  const two = job({ name: TRAIN, state: JobState.RUNNING, replicas: 2 });
  two.attempts = 2;
  mesh.jobs.put(two);
  mesh.jobs.gaps.set(TRAIN, "the first 12 lines were cut");
  const then = timestampFromMs(Date.now() - 60_000);
  mesh.jobs.write(TRAIN, "of the first attempt", 0, then, 1);
  mesh.jobs.write(TRAIN, "from zero", 0);
  mesh.jobs.write(TRAIN, "from one", 1);
  await here.enter("/jobs/vision/train");
  const log = at("log");
  await log.getByText("from one").waitFor();
  await log.getByText("the first 12 lines were cut").waitFor();
  assert.equal(await log.getByText("of the first attempt").count(), 0);
  await at("log-replica").selectOption("worker/1");
  await log.getByText("from zero").waitFor({ state: "detached" });
  await log.getByText("from one").waitFor();
  const asked = here.calls("StreamLogs").at(-1) as StreamLogsRequest;
  assert.deepEqual([asked.role, asked.replica], ["worker", 1]);
  await at("log-replica").selectOption("");
  await at("log-attempt").selectOption("1");
  await log.getByText("of the first attempt").waitFor();
  await page.getByRole("region", { name: "Log" }).getByText("Complete").waitFor();
});

test("usage is a line of time with its GPU-hours", async () => {
  const { mesh, page, at } = here;
  mesh.jobs.put(job({ name: TRAIN, state: JobState.RUNNING, replicas: 2, gpus: 4 }));
  usage(mesh, TRAIN, ["gpu-a-01"]);
  await here.enter("/jobs/vision/train");
  await at("usage-spans").getByText("preempted").waitFor();
  // 8 GPUs for 55 min, 4 for 38, 8 for 82.
  assert.match(await at("gpu-hours").innerText(), /^20\.[78] GPU-hours$/);
  assert.equal(await page.locator(".spans i").count(), 3);
  assert.equal(await at("usage-spans").locator("tr").count(), 3);
});
