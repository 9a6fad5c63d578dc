import assert from "node:assert/strict";
import { test } from "node:test";
import { isAlarming, settled, told } from "../src/telling";
import type { Scan } from "../src/words";

const scan = (nonce: string, more: Partial<Scan> = {}): Scan => {
  return { nonce, hash: "ab", at: 0, gate: null, result: "ADMIT", waiting: 1, ...more };
};

test("what is told of is the hash, and no token", () => {
  assert.deepEqual(told(scan("n", { gate: "North" })), {
    nonce: "n",
    token_hash: "ab",
    scanned_at: "1970-01-01T00:00:00.000Z",
    result: "ADMIT",
    gate: "North",
  });
});

test("a scan waits until its own nonce has an outcome", () => {
  const batch = [scan("a"), scan("b")];
  const [done, ...more] = settled(batch, [{ nonce: "b", outcome: "conflict", gate: "South" }], 7);
  assert.deepEqual(more, []);
  assert.equal(done?.waiting, undefined);
  const { nonce, toldAt, outcome, standing } = done!;
  assert.deepEqual([nonce, toldAt, outcome, standing], ["b", 7, "conflict", { gate: "South" }]);
});

test("who was let in wrongly alarms until somebody has looked", () => {
  assert.equal(isAlarming(scan("a", { outcome: "conflict" })), true);
  assert.equal(isAlarming(scan("a", { outcome: "late_invalid" })), true);
  assert.equal(isAlarming(scan("a", { outcome: "conflict", seen: true })), false);
  assert.equal(isAlarming(scan("a", { outcome: "duplicate" })), false);
  assert.equal(isAlarming(scan("a", { outcome: "unknown", result: "INVALID" })), false);
});
