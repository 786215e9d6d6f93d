// Accounts, limits, members, users, and one's own page.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { UpdateQuotaRequest } from "../../src/gen/crater/quota/v1/quota_service_pb.js";
import type { AddMemberRequest, CreateUserRequest, DeleteAccountRequest } from "../../src/gen/crater/user/v1/user_service_pb.js";
import { MemberRole, UserState } from "../../src/gen/crater/user/v1/resources_pb.js";
import { JobState } from "../../src/gen/crater/job/v1/resources_pb.js";
import { cluster, job, staff } from "../fake/scene.js";
import { signIn } from "./browser.js";
import { house } from "./house.js";

const here = house((mesh) => {
  cluster(mesh);
  staff(mesh);
});
const focused = () => here.page.evaluate(() => (document.activeElement as HTMLElement).dataset["testid"]);
const bar = (account: string, resource: string) => here.at(`account-${account}`).locator(`[data-resource="${resource}"]`);

test("the overview shows my jobs, what waits and why, my accounts' bars and how full the cluster is", async () => {
  const { mesh, page, at } = here;
  mesh.jobs.put(job({ name: "accounts/vision/jobs/mine", state: JobState.RUNNING }));
  mesh.jobs.put(job({ name: "accounts/vision/jobs/of-lin", state: JobState.QUEUED, creator: "lin", gpus: 8, replicas: 4, message: "20 A100 are short" }));
  await here.enter();
  await at("job-row-mine").waitFor();
  assert.equal(await at("job-row-of-lin").count(), 0, "others' jobs are not mine");
  await at("queue").getByText("20 A100 are short").waitFor();
  await at("queue").getByText("32 GPUs").waitFor();
  await at("my-account-vision").getByRole("img", { name: "A100: 21 used, 16 guaranteed, 5 borrowed, 0.5 best effort, limit 32" }).waitFor();
  await at("cluster-fill").getByText("5.5 of 32 free").waitFor();
  mesh.jobs.change("accounts/vision/jobs/mine", (each) => (each.state = JobState.SUCCEEDED));
  await page.locator("[data-testid=job-row-mine][data-state=succeeded]").waitFor();
});

test("accounts are a tree with bars: inside the guarantee, borrowed, best effort, limits", async () => {
  await here.enter("/accounts", "root");
  await bar("vision", "gpu/A100").waitFor();
  const order = await here.page.locator(".tree > li").evaluateAll((all) => all.map((each) => [each.getAttribute("data-testid"), parseInt((each as HTMLElement).style.marginLeft)]));
  assert.deepEqual(order, [["account-ai", 0], ["account-speech", 28], ["account-vision", 28], ["account-vision-robots", 56], ["account-biology", 0]]);
  const widths = await bar("vision", "gpu/A100").locator(".track i").evaluateAll((all) => all.map((each) => [each.className, (each as HTMLElement).style.width || (each as HTMLElement).style.left]));
  assert.deepEqual(widths, [["within", "50%"], ["borrowed", "15.625%"], ["best-effort", "1.5625%"], ["owed", "50%"]]);
  await here.at("account-biology").getByText("No guarantees, no limits.").waitFor();
});

test("a member sees the own accounts alone, and may change nothing there", async () => {
  await here.enter("/accounts");
  await here.at("account-vision").waitFor();
  assert.equal(await here.at("account-biology").count(), 0);
  assert.equal(await here.at("account-create").count(), 0);
  assert.equal(await here.at("nav-users").count(), 0);
  await here.page.goto(`${here.mesh.address}/accounts/speech`);
  await here.at("member-mira").waitFor();
  assert.equal(await here.at("quota-edit").count() + (await here.at("member-add").count()) + (await here.at("limits-mira").count()), 0);
  await here.page.goto(`${here.mesh.address}/accounts/biology`);
  await here.at("error").getByText("no such account").waitFor();
});

test("an admin changes limits and weight; what is refused is told at its field", async () => {
  const { page, at } = here;
  await here.enter("/accounts/vision", "root");
  await at("quota-edit").click();
  await at("quota-guaranteed-gpu/A100").fill("a lot");
  await at("quota-send").click();
  await page.getByText("This is no number that can be sent.").waitFor();
  assert.equal(here.calls("UpdateQuota").length, 0);
  await at("quota-guaranteed-gpu/A100").fill("64");
  await at("quota-send").click();
  await page.getByText("must not be more than the limit").waitFor();
  assert.equal(await focused(), "quota-guaranteed-gpu/A100");
  await at("quota-guaranteed-gpu/A100").fill("20");
  await at("quota-limit-memory").fill("2048");
  await at("quota-limit-jobs.waiting").fill("");
  assert.ok(await at("quota-guaranteed-jobs.running").isDisabled(), "jobs are not guaranteed");
  await page.getByRole("button", { name: "Remove: T4" }).click();
  await at("quota-add").click();
  await at("quota-weight").fill("5");
  await at("quota-send").click();
  await at("quota-editor").waitFor({ state: "detached" });
  const sent = here.calls("UpdateQuota").at(-1) as UpdateQuotaRequest;
  assert.deepEqual(sent.updateMask?.paths, ["resources", "weight"]);
  assert.equal(sent.quota?.weight, 5);
  const rows = new Map(sent.quota?.resources.map((row) => [row.resource, row]));
  assert.equal(rows.get("gpu/A100")?.guaranteed, 20_000n);
  assert.equal(rows.get("memory")?.limit, 2048n * 1024n ** 3n);
  assert.equal(rows.get("jobs.waiting")?.limit, undefined);
  assert.equal(rows.has("gpu/T4"), false);
  assert.ok(rows.has("gpu/H100"), "the row that was added");
  await at("account-quota").getByText("weight 5").waitFor();
});

test("limits that somebody else changed meanwhile are not overwritten", async () => {
  const { mesh, page, at } = here;
  await here.enter("/accounts/vision", "root");
  await at("quota-edit").click();
  mesh.quotas.set("accounts/vision/quota", [["cpu", 1000, 2000]]);
  await at("quota-weight").fill("9");
  await at("quota-send").click();
  await page.getByText("It was changed meanwhile.").waitFor();
  assert.equal(mesh.quotas.all.get("accounts/vision/quota")?.weight, 1);
});

test("a manager gives members roles and limits of their own, adds and removes them", async () => {
  const { mesh, page, at } = here;
  await here.enter("/accounts/vision");
  await at("member-lin").waitFor();
  assert.equal(await at("quota-edit").count(), 0, "the account's own limits are the admins'");
  await at("limits-mira").click();
  await at("quota-limit-gpu/A100").fill("12");
  await at("quota-send").click();
  await at("quota-editor").waitFor({ state: "detached" });
  assert.equal(mesh.quotas.all.get("accounts/vision/users/mira/quota")?.resources[0]?.limit, 12_000n);
  assert.deepEqual((here.calls("UpdateQuota").at(-1) as UpdateQuotaRequest).updateMask?.paths, ["resources"]);
  await at("role-lin").selectOption({ label: "Manager" });
  await here.until("lin manages", () => mesh.people.of("users/lin").some((each) => each.role === MemberRole.MANAGER));
  await at("member-add").click();
  await at("member-user").fill("nobody");
  await at("member-send").click();
  await page.getByText("there is no users/nobody").waitFor();
  assert.equal(await focused(), "member-user");
  await at("member-user").fill("jonas");
  await at("member-send").click();
  await at("member-jonas").getByText("Suspended").waitFor();
  assert.equal((here.calls("AddMember").at(-1) as AddMemberRequest["membership"])?.role, MemberRole.MEMBER);
  await at("remove-jonas").click();
  await at("remove-jonas").click();
  await at("member-jonas").waitFor({ state: "detached" });
  assert.equal(mesh.people.of("users/jonas").length, 1, "the other membership stays");
});

test("an account is created, renamed, moved, and deleted only after what it means was read and its id typed", async () => {
  const { mesh, page, at } = here;
  await here.enter("/accounts", "root");
  await at("account-create").click();
  await at("account-id").fill("No Good");
  await at("account-send").click();
  await page.getByText("must be lower-case letters").waitFor();
  await at("account-id").fill("chem");
  await at("account-name").fill("Chemistry");
  await at("account-parent").selectOption("accounts/biology");
  await at("account-send").click();
  await page.waitForURL(/\/accounts\/chem$/);
  await page.getByRole("heading", { name: "Chemistry" }).waitFor();
  await at("account-change").click();
  const parents = await at("account-parent").locator("option").evaluateAll((all) => all.map((each) => (each as HTMLOptionElement).value));
  assert.ok(!parents.includes("accounts/chem"), "not below itself");
  await at("account-name").fill("Chemistry lab");
  await at("account-parent").selectOption("accounts/ai");
  await at("account-send").click();
  await page.getByRole("heading", { name: "Chemistry lab" }).waitFor();
  assert.equal(mesh.people.accounts.get("accounts/chem")?.parent, "accounts/ai");
  await at("account-delete").click();
  await at("delete-account").getByText("Its jobs that have not ended are cancelled.").waitFor();
  assert.ok(await at("account-send").isDisabled());
  await at("type-id").fill("chem");
  await at("account-send").click();
  await page.waitForURL(/\/accounts$/);
  await at("account-vision").waitFor();
  assert.equal(await at("account-chem").count(), 0);
  assert.equal((here.calls("DeleteAccount").at(-1) as DeleteAccountRequest).force, true);
  await page.goto(`${mesh.address}/accounts/vision`);
  await at("account-delete").click();
  await at("delete-account").getByText("There are accounts below it: vision-robots.").waitFor();
  assert.equal(await at("type-id").count(), 0);
});

test("users are searched, filtered, paged and created", async () => {
  const { mesh, page, at } = here;
  for (let n = 0; n < 120; n++) mesh.people.user(`x${String(n).padStart(3, "0")}`, `Robot ${n}`);
  await here.enter("/users", "root");
  await at("user-mira").waitFor();
  assert.equal(await at("user-x119").count(), 0);
  await at("more").click();
  await at("user-x119").waitFor();
  await at("user-search").fill("OKAF");
  await at("user-x001").waitFor({ state: "detached" });
  await at("user-mira").waitFor();
  assert.deepEqual(here.query(), { text: "OKAF" });
  await at("user-search").fill("");
  await at("user-state").selectOption("suspended");
  await at("user-jonas").waitFor();
  await at("user-mira").waitFor({ state: "detached" });
  await at("user-create").click();
  await at("user-id").fill("Bad Id");
  await at("user-password").fill("short");
  await at("user-send").click();
  await page.getByText("must be lower-case letters").waitFor();
  await page.getByText("must have at least 8 characters").waitFor();
  await at("user-id").fill("kim");
  await at("user-name").fill("Kim");
  await at("user-password").fill("long enough now");
  await page.getByLabel("biology").check();
  await at("user-send").click();
  await page.waitForURL(/\/users\/kim$/);
  await page.getByRole("link", { name: "biology" }).waitFor();
  assert.deepEqual((here.calls("CreateUser").at(-1) as CreateUserRequest).accounts, ["accounts/biology"]);
});

test("a user is suspended, reinstated, changed, given a new password, and deleted after the id was typed", async () => {
  const { mesh, page, at } = here;
  const badge = (state: string) => page.locator(`[data-testid=user-badge][data-state=${state}]`).waitFor();
  await here.enter("/users/mira", "root");
  await badge("active");
  await at("user-suspend").click();
  assert.equal(here.calls("SuspendUser").length, 0);
  await at("user-suspend").click();
  await badge("suspended");
  await page.getByText("every session has ended").waitFor();
  assert.equal(mesh.people.users.get("users/mira")?.state, UserState.SUSPENDED);
  await at("user-reinstate").click();
  await badge("active");
  await at("user-change").click();
  await at("user-name").fill("Mira O.");
  await at("user-admin").check();
  await at("user-send").click();
  await page.getByRole("heading", { name: "Mira O." }).waitFor();
  await page.getByText("Platform admin", { exact: true }).waitFor();
  await at("user-reset").click();
  await at("new-password").fill("short");
  await at("reset-send").click();
  await page.getByText("must have at least 8 characters").waitFor();
  await at("new-password").fill("a better password");
  await at("reset-send").click();
  await page.getByText("The password is set.").waitFor();
  assert.equal(mesh.people.passwords.get("users/mira"), "a better password");
  await page.keyboard.press("Escape");
  await at("user-delete").click();
  await at("type-id").fill("mir");
  assert.ok(await at("user-send").isDisabled());
  await at("type-id").fill("mira");
  await at("user-send").click();
  await page.waitForURL(/\/users$/);
  await at("user-lin").waitFor();
  assert.equal(await at("user-mira").count(), 0);
});

test("nobody shuts out or deletes themselves", async () => {
  await here.enter("/users/root", "root");
  await here.at("user-reset").waitFor();
  assert.equal((await here.at("user-suspend").count()) + (await here.at("user-delete").count()), 0);
});

test("one changes the own password, and the new one signs in", async () => {
  const { mesh, page, at } = here;
  await here.enter("/me");
  await at("self-current_password").fill("not it");
  await at("self-new_password").fill("another password");
  await at("self-repeated").fill("another passwort");
  await at("self-send").click();
  await page.getByText("This is not the same.").waitFor();
  assert.equal(here.calls("ChangePassword").length, 0);
  await at("self-repeated").fill("another password");
  await at("self-send").click();
  await page.getByText("is not the password").waitFor();
  assert.equal(await focused(), "self-current_password");
  await at("self-current_password").fill(mesh.password);
  await at("self-send").click();
  await page.getByText("Your other sessions have ended.").waitFor();
  assert.equal(await at("self-new_password").inputValue(), "");
  await at("sign-out").click();
  await signIn(page, mesh.user, "another password");
  await at("nav-jobs").waitFor();
});

test("the acting account is switched in the header, and new jobs go there", async () => {
  const { mesh, page, at } = here;
  await here.enter();
  assert.equal(await at("acting").inputValue(), "accounts/vision");
  await at("acting").selectOption("accounts/speech");
  await here.until("it was switched", () => mesh.acting.get("users/alice") === "accounts/speech");
  await at("nav-submit").click();
  await page.waitForFunction(() => document.querySelector<HTMLSelectElement>("[data-testid=submit-account]")?.value === "speech");
  await page.reload();
  await page.waitForFunction(() => document.querySelector<HTMLSelectElement>("[data-testid=submit-account]")?.value === "speech");
});
