import assert from "node:assert/strict";
import { test } from "node:test";
import { Sighting } from "../src/sighting";

test("a code that stays in view is one sighting, and another once it was away", () => {
  const sighting = new Sighting();
  const seen = [0, 100, 1_500, 2_900, 4_500].map((ms) => sighting.isNew("a", ms));
  assert.deepEqual(seen, [true, false, false, false, true]);
  assert.equal(sighting.isNew("b", 4_600), true);
  assert.equal(sighting.isNew("a", 4_700), true);
});
