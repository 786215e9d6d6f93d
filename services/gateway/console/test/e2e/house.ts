// What every test of the page stands in: a mesh of its own, a fresh browser profile, and a page that must stay clean.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach } from "node:test";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { Mesh } from "../fake/mesh.js";
import { launch, signIn, visit } from "./browser.js";

export class House {
  browser!: Browser;
  mesh!: Mesh;
  page!: Page;
  faults: string[] = [];

  /** Signs in at a path, as alice unless told otherwise; "root" is an admin. */
  async enter(path = "/", user = this.mesh.user) {
    await this.page.goto(this.mesh.address + path);
    await signIn(this.page, user, this.mesh.password);
    await this.at("nav-jobs").waitFor();
  }

  at = (id: string) => this.page.getByTestId(id);
  calls = (method: string) => this.mesh.calls.filter((call) => call.method === method).map((call) => call.request);
  /** The query of the address, decoded. */
  query = () => Object.fromEntries(new URL(this.page.url()).searchParams);
  /** Waits until a condition on the test's side holds. */
  async until(what: string, ready: () => boolean) {
    for (const end = Date.now() + 10_000; !ready(); await new Promise((resolve) => setTimeout(resolve, 20))) {
      assert.ok(Date.now() < end, `waited in vain: ${what}`);
    }
  }
}

export function house(furnish: (mesh: Mesh) => void, options: BrowserContextOptions = {}): House {
  const here = new House();
  before(async () => void (here.browser = await launch()));
  after(() => here.browser.close());
  beforeEach(async () => {
    here.mesh = new Mesh();
    furnish(here.mesh);
    await here.mesh.start();
    ({ page: here.page, faults: here.faults } = await visit(here.browser, options));
  });
  afterEach(async () => {
    await here.page.context().close();
    await here.mesh.stop();
    assert.deepEqual(here.faults, [], "the page's console stays clean");
  });
  return here;
}
