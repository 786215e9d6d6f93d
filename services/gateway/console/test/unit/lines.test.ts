import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { LogLineSchema } from "../../src/gen/crater/job/v1/resources_pb.js";
import { Place, plain } from "../../src/lines.js";

const line = (replica: number, at: number, text: string) =>
  create(LogLineSchema, { role: "worker", replica, time: { seconds: 1000n, nanos: at }, text });

test("a resumed stream doubles no line and loses none, also of one moment", () => {
  const all = [line(0, 1, "a"), line(1, 1, "b"), line(0, 2, "c"), line(0, 2, "d"), line(1, 3, "e"), line(0, 2, "f"), line(0, 4, "g")];
  for (let cut = 0; cut <= all.length; cut++) {
    const place = new Place();
    place.resume();
    const first = all.slice(0, cut).filter((each) => place.take(each));
    place.resume();
    const second = all.filter((each) => place.take(each));
    assert.deepEqual([...first, ...second].map(({ text }) => text).sort().join(""), "abcdefg", `cut after ${cut}`);
  }
});

test("the moment to resume from lies before the slowest replica's last line", () => {
  const place = new Place();
  assert.equal(place.since(2), undefined);
  place.take(line(0, 9_000_000, "fast"));
  assert.equal(place.since(2), undefined, "a replica that was never heard may have written earlier");
  place.take(line(1, 2_000_000, "slow"));
  const since = place.since(2);
  assert.ok(since && timestampMs(since) < 1_000_002);
});

test("a line is shown as a terminal would leave it", () => {
  assert.equal(plain("\x1b[31mred\x1b[0m"), "red");
  assert.equal(plain(" 10%|#\r 20%|##\r 30%|###"), " 30%|###");
  assert.equal(plain("dos line\r"), "dos line");
  assert.equal(plain("\x1b]0;title\x07text <b>&amp;"), "text <b>&amp;");
});
