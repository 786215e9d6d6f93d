import assert from "node:assert/strict";
import { test } from "node:test";
import { accountPath, jobPath, parse, userPath } from "../../src/route.js";

test("a path is a place, and every place's path leads back to it", () => {
  assert.deepEqual(parse("/"), { at: "overview" });
  for (const at of ["jobs", "submit", "cluster", "accounts", "users", "me"]) assert.deepEqual(parse(`/${at}`), { at });
  assert.deepEqual(parse(jobPath("accounts/lab/jobs/train")), { at: "job", name: "accounts/lab/jobs/train" });
  assert.deepEqual(parse(accountPath("accounts/lab/users/ann/quota")), { at: "account", name: "accounts/lab" });
  assert.deepEqual(parse(userPath("users/ann")), { at: "user", name: "users/ann" });
  for (const nowhere of ["/x", "/jobs/a", "/jobs/a/b/c", "/me/a", "/cluster/x", "/%zz"]) assert.deepEqual(parse(nowhere), { at: "nowhere" });
});
