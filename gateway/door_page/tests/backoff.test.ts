import assert from "node:assert/strict";
import { test } from "node:test";
import { SCANS_MAX, nextBatch, pauseMs } from "../src/backoff";
import { frameMs } from "../src/vigilance";

test("pauses grow to half a minute and are spread", () => {
  assert.deepEqual([1, 2, 3, 4].map((failures) => pauseMs(failures, 1)), [500, 1000, 2000, 4000]);
  assert.equal(pauseMs(50, 1), 30_000);
  assert.equal(pauseMs(50, 0), 15_000);
});

test("a batch that does not arrive is halved, one that does is doubled, up to what a call takes", () => {
  assert.equal(nextBatch(SCANS_MAX, false), 2_500);
  assert.equal(nextBatch(60, false), 50);
  assert.equal(nextBatch(50, false), 50);
  assert.equal(nextBatch(3_000, true), SCANS_MAX);
});

test("the camera looks ten times a second, then three, then not at all", () => {
  assert.equal(frameMs(0), 100);
  assert.equal(frameMs(30_000), 330);
  assert.equal(frameMs(240_000), null);
});
