// `npm run shots`: pictures of every view into test/shots, light and dark, for the eye.
import { Mesh } from "../fake/mesh.js";
import { lab } from "../fake/scene.js";
import { launch, signIn, visit } from "./browser.js";

const mesh = new Mesh();
lab(mesh);
const address = await mesh.start();
const browser = await launch();
for (const [scheme, locale, width] of [["light", "en-US", 1360], ["dark", "zh-CN", 1360], ["light", "zh-CN", 420]] as const) {
  const { page, faults } = await visit(browser, { colorScheme: scheme, locale, viewport: { width, height: 860 } });
  const shot = (name: string) => page.screenshot({ path: `test/shots/${name}-${scheme}-${width}.png`, animations: "disabled" });
  await page.goto(address);
  await page.getByTestId("login-submit").waitFor();
  await shot("signin");
  await signIn(page, mesh.user, mesh.password);
  await page.getByTestId("job-row-resnet-ddp").waitFor();
  await page.locator(".cell").first().waitFor();
  await shot("jobs");
  await page.getByTestId("job-row-resnet-ddp").getByRole("link").click();
  await page.getByTestId("log").getByText("step 7590").waitFor();
  await page.getByTestId("events").waitFor();
  await shot("job");
  await page.goBack();
  await page.getByTestId("job-row-vit-large-pretrain").getByRole("link").click();
  await page.getByTestId("job-why").waitFor();
  await shot("waiting");
  await page.getByTestId("nav-submit").click();
  await page.getByTestId("submit-name").fill("Bad Name");
  await page.getByTestId("submit-command").fill("python train.py");
  await page.getByTestId("submit-gpus").fill("64");
  await page.getByTestId("submit-send").click();
  await page.getByTestId("error").waitFor();
  await shot("submit");
  if (faults.length > 0) console.error(scheme, faults);
}
await browser.close();
await mesh.stop();
