// Uses the console as a person does. CRATER_URL, CRATER_PASSWORD, CRATER_GO (a file that lets the job end), CHROMIUM and
// CRATER_SCREENSHOTS (a folder) say where. Leaves with 1 and says why when something is not as it should be.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const { CRATER_URL: url, CRATER_PASSWORD: password, CRATER_GO: go, CRATER_SCREENSHOTS: shots, CHROMIUM } = process.env;
const JOB = "from-the-console";

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  // root (in containers) has no sandbox of its own; only this machine's own pages are opened
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});
const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, locale: "en-US" });
page.setDefaultTimeout(20_000);

// whatever the browser complains of is an error, violations of the content policy among it
const complaints = [];
page.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) complaints.push(`console: ${message.text()}`);
});
page.on("pageerror", (error) => complaints.push(`exception: ${error.stack}`));
page.on("requestfailed", (request) => {
  // streams are closed by the page itself when a view is left
  const { errorText } = request.failure();
  if (errorText !== "net::ERR_ABORTED") complaints.push(`request: ${request.url()} ${errorText}`);
});
page.on("response", (response) => {
  if (response.status() >= 400) complaints.push(`response: ${response.url()} ${response.status()}`);
  if (new URL(response.url()).origin !== new URL(url).origin) complaints.push(`another origin: ${response.url()}`);
});

const at = (id) => page.getByTestId(id);
const say = (text) => console.log(`ok: ${text}`);
const shot = (name) => page.screenshot({ path: join(shots, `${name}.png`) });
const state = async (element, name) => {
  await page.waitForFunction(
    ([id, wanted]) => document.querySelector(`[data-testid="${id}"]`)?.dataset.state === wanted,
    [element, name],
  );
};

try {
  await page.goto(url, { waitUntil: "load" });
  await at("login-user").fill("admin");
  await at("login-password").fill("not the password");
  await at("login-submit").click();
  await at("error").waitFor();
  say("a wrong password is refused");

  await at("login-password").fill(password);
  await at("login-submit").click();
  await at("nav-submit").waitFor();
  say("signed in");
  await page.evaluate(() => (globalThis.neverReloaded = true));

  await at("nav-submit").click();
  await at("submit-name").fill(JOB);
  await at("submit-command").fill(`echo first line; while [ ! -e '${go}' ]; do sleep 0.05; done; echo last line`);
  await at("submit-cpu").fill("0.1");
  await at("submit-memory").fill("0.125");
  await at("submit-gpus").fill("99");
  await at("submit-send").click();
  assert.match(await at("error-gpus").innerText(), /\S/);
  await shot("refused");
  say(`99 GPUs are refused at their field: ${await at("error-gpus").innerText()}`);

  await at("submit-gpus").fill("1");
  await at("submit-send").click();
  await state("job-state", "running");
  say("running, without a reload");
  await at("log").getByText("first line").waitFor();
  await shot("running");
  say("the log came while it runs");
  writeFileSync(go, "");
  await state("job-state", "succeeded");
  await at("log").getByText("last line").waitFor();
  assert.equal(await at("job-exit-code").innerText(), "0");
  say("succeeded, with its last line");

  await at("language").click();
  assert.match(await page.locator("body").innerText(), /\p{Script=Han}/u);
  assert.match(await page.locator("html").getAttribute("lang"), /^zh/);
  await shot("zh");
  await at("language").click();
  say("the other language");

  await at("nav-overview").click();
  await state(`job-row-${JOB}`, "succeeded");
  await at("cluster-fill").getByText("8 of 8 free").waitFor();
  await shot("overview");
  say("the overview has the job and the cluster");

  await at("nav-jobs").click();
  await at("filter").fill("from-the");
  await page.waitForURL(/text=from-the/);
  await state(`job-row-${JOB}`, "succeeded");
  await page.getByRole("button", { name: "Failed" }).click();
  await at(`job-row-${JOB}`).waitFor({ state: "detached" });
  await page.getByRole("button", { name: "All", exact: true }).click();
  await state(`job-row-${JOB}`, "succeeded");
  say("filters are applied by the server, and kept in the address");

  await at("nav-cluster").click();
  await page.locator(".tile > i").nth(7).waitFor();
  assert.equal(await page.locator(".tile > i.free").count(), 8);
  await page.locator(".tile").first().focus();
  await page.keyboard.press("Enter");
  await at("node-panel").waitFor();
  await at("cordon").click();
  await at("close-reason").fill("a test looks at it");
  await at("close-send").click();
  await at("node-condition").getByText("Cordoned").waitFor();
  await shot("cordoned");
  await at("uncordon").click();
  await at("node-condition").getByText("Open").waitFor();
  say("a node is cordoned and opened again on the map");

  await at("nav-accounts").click();
  await at("account-default").getByRole("link").click();
  await at("quota-edit").click();
  await at("quota-add").click();
  await page.getByRole("textbox", { name: /Limit/ }).last().fill("64");
  await at("quota-send").click();
  await at("quota-editor").waitFor({ state: "detached" });
  await at("account-quota").getByText("/ 64").waitFor();
  await shot("account");
  say("a limit is set and its bar is there");

  await at("nav-users").click();
  await at("user-create").click();
  await at("user-id").fill("ann");
  await at("user-password").fill("short");
  await at("user-send").click();
  await page.locator("[aria-invalid]").waitFor();
  await at("user-password").fill("a good password");
  await page.getByLabel("default").check();
  await at("user-send").click();
  await page.waitForURL(/users\/ann$/);
  await at("user-suspend").click();
  await at("user-suspend").click();
  await page.locator("[data-testid=user-badge][data-state=suspended]").waitFor();
  await shot("user");
  say("a user is created, and suspended");

  await at("nav-jobs").click();
  await state(`job-row-${JOB}`, "succeeded");
  assert.equal(await page.evaluate(() => globalThis.neverReloaded), true);
  await shot("jobs");
  await page.reload();
  await at(`job-row-${JOB}`).waitFor();
  say("still signed in after a reload");
  await at("sign-out").click();
  await at("login-user").waitFor();
  say("signed out");
  assert.deepEqual(complaints, []);
} catch (error) {
  await shot("failed").catch(() => {});
  console.error(error);
  console.error("what the browser complained of:", complaints);
  process.exitCode = 1;
} finally {
  await browser.close();
}
