// `npm run shots`: pictures of every view into test/shots, light and dark, for the eye. Words after "--" name the views.
import { Mesh } from "../fake/mesh.js";
import { grand, lab } from "../fake/scene.js";
import { launch, signIn, visit } from "./browser.js";

const mesh = new Mesh();
lab(mesh);
const big = new Mesh();
lab(big);
grand(big);
const wanted = process.argv.slice(2);
const address = await mesh.start();
const grandAddress = await big.start();
const browser = await launch();
for (const [scheme, locale, width] of [["light", "en-US", 1360], ["dark", "zh-CN", 1360], ["light", "zh-CN", 420]] as const) {
  const { page, faults } = await visit(browser, { colorScheme: scheme, locale, viewport: { width, height: 860 } });
  const at = (id: string) => page.getByTestId(id).first();
  const shot = async (name: string, go: () => Promise<unknown>) => {
    if (wanted.length > 0 && !wanted.includes(name)) return;
    await go();
    await page.screenshot({ path: `test/shots/${name}-${scheme}-${width}.png`, animations: "disabled" });
  };
  await page.goto(address);
  await at("login-submit").waitFor();
  await shot("signin", async () => undefined);
  await signIn(page, "root", mesh.password);
  await at("nav-jobs").waitFor();
  const to = async (path: string, ...ids: string[]) => {
    await page.evaluate((next) => (history.pushState(null, "", next), dispatchEvent(new PopStateEvent("popstate"))), path);
    for (const id of ids) await at(id).waitFor();
  };
  await shot("users", () => to("/users", "user-mira"));
  await shot("user", () => to("/users/mira", "user-suspend"));
  await shot("user-delete", async () => {
    await to("/users/mira", "user-delete");
    await at("user-delete").click();
  });
  await page.keyboard.press("Escape");
  await shot("user-create", async () => {
    await to("/users", "user-create");
    await at("user-create").click();
    await at("user-id").fill("Bad Id");
    await at("user-password").fill("short");
    await at("user-send").click();
    await page.locator("[aria-invalid]").first().waitFor();
  });
  await page.keyboard.press("Escape");
  await shot("accounts", async () => {
    await to("/accounts", "account-vision");
    await page.locator(".bar-row").first().waitFor();
  });
  await shot("account", () => to("/accounts/vision", "member-mira", "quota-edit"));
  await shot("quota-edit", async () => {
    await to("/accounts/vision", "quota-edit");
    await at("quota-edit").click();
    await at("quota-guaranteed-gpu/A100").fill("64");
    await at("quota-send").click();
    await page.locator("[aria-invalid]").first().waitFor();
  });
  await page.keyboard.press("Escape");
  await shot("node", () => to("/cluster?node=gpu-a-02&group=rack", "node-panel"));
  await shot("drain", async () => {
    await to("/cluster?node=gpu-a-02", "drain");
    await at("drain").click();
    await at("drain-jobs").waitFor();
  });
  await page.keyboard.press("Escape");
  await at("sign-out").click();
  await signIn(page, mesh.user, mesh.password);
  await at("nav-jobs").waitFor();
  await shot("overview", () => to("/", "job-row-resnet-ddp", "queue", "my-account-vision", "cluster-fill"));
  await shot("jobs", () => to("/jobs", "job-row-resnet-ddp"));
  await shot("job", async () => {
    await to("/jobs/vision/resnet-ddp", "log", "events", "usage-spans");
    await page.getByTestId("log").getByText("step 7590").waitFor();
  });
  await shot("waiting", () => to("/jobs/vision/vit-large-pretrain", "job-why", "job-change"));
  await shot("job-change", async () => {
    await to("/jobs/vision/vit-large-pretrain", "job-change");
    await at("job-change").click();
  });
  await page.keyboard.press("Escape");
  await shot("map", () => to("/cluster", "map-count"));
  await shot("me", () => to("/me", "self-send"));
  await shot("submit", async () => {
    await to("/submit", "submit-send");
    await at("submit-name").fill("Bad Name");
    await at("submit-command").fill("python train.py");
    await at("submit-gpus").fill("64");
    await at("submit-send").click();
    await at("error").waitFor();
  });
  await shot("grand", async () => {
    await page.goto(grandAddress + "/cluster");
    await signIn(page, mesh.user, mesh.password);
    await at("map-count").waitFor();
    await page.locator(".tile").first().hover();
    await at("map-tip").waitFor();
  });
  await page.context().close();
  if (faults.length > 0) console.error(scheme, faults);
}
await browser.close();
await mesh.stop();
await big.stop();
