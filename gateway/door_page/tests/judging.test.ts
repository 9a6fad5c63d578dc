import assert from "node:assert/strict";
import { test } from "node:test";
import { type Knowledge, judge, late } from "../src/judging";
import { Ledger } from "../src/ledger";
import type { Scan } from "../src/words";

const OPENS = Date.parse("2031-05-01T18:00:00Z");
const scan = (more: Partial<Scan> = {}): Scan => {
  return { nonce: "n", hash: "h", at: OPENS + 60_000, gate: "North", result: "ADMIT", ...more };
};
const known = (more: Partial<Knowledge> = {}): Knowledge => ({
  ticket: { tier: 1, status: "VALID" },
  own: undefined,
  doors: {
    opens_at: "2031-05-01T18:00:00Z",
    cancelled: false,
    reentry: false,
    gates: [
      { name: "North", tiers: [] },
      { name: "Red carpet", tiers: [0] },
    ],
  },
  tiers: [
    { tier_id: "a", name: "VIP" },
    { tier_id: "b", name: "GENERAL" },
  ],
  gate: "North",
  leaving: false,
  nowMs: OPENS,
  ...more,
});

test("a valid ticket is let in once", () => {
  assert.deepEqual(judge(known()), { result: "ADMIT", tier: "GENERAL" });
  const again = judge(known({ own: scan() }));
  const at = "2031-05-01T18:01:00.000Z";
  assert.deepEqual(again, { result: "ALREADY_ADMITTED", tier: "GENERAL", at, gate: "North" });
  const used = judge(known({ ticket: { tier: 1, status: "USED" } }));
  assert.equal(used.result, "ALREADY_ADMITTED");
});

test("each refusal has its reason, in the server's order", () => {
  const cancelled = { ...known().doors, cancelled: true };
  const refusals: [Partial<Knowledge>, string][] = [
    [{ ticket: undefined }, "unknown_token"],
    [{ doors: cancelled, ticket: { tier: 1, status: "CANCELLED" } }, "event_cancelled"],
    [{ ticket: { tier: 1, status: "CANCELLED" }, nowMs: 0 }, "refunded"],
    [{ ticket: { tier: 1, status: "TRANSFERRED" } }, "transferred"],
    [{ nowMs: OPENS - 1, gate: "Red carpet" }, "not_open"],
    [{ gate: "Red carpet", own: scan() }, "tier_not_admitted"],
  ];
  for (const [more, reason] of refusals) {
    const found = judge(known(more));
    assert.deepEqual([found.result, found.reason], ["INVALID", reason]);
  }
});

test("where one may come back, whoever is in or could be may leave and is let in again", () => {
  const doors = { ...known().doors, reentry: true };
  const leave = (more: Partial<Knowledge> = {}) => judge(known({ doors, leaving: true, ...more }));
  assert.equal(leave({ own: scan() }).result, "EXIT");
  assert.equal(leave({ doors: { ...doors, cancelled: true }, own: scan() }).result, "EXIT");
  assert.equal(leave().result, "EXIT");
  assert.equal(leave({ ticket: { tier: 1, status: "CANCELLED" } }).reason, "refunded");
  assert.equal(leave({ doors: { ...doors, reentry: false }, own: scan() }).reason, "no_reentry");
  const back = known({ doors, ticket: { tier: 1, status: "USED" }, own: scan({ result: "EXIT" }) });
  assert.equal(judge(back).result, "ADMIT");
  assert.equal(judge(known({ doors, ticket: { tier: 1, status: "OUT" } })).result, "ADMIT");
});

test("an answer that came late agrees, lets in after all, or must be told of", () => {
  assert.equal(late("ADMIT", "ADMIT"), "moot");
  assert.equal(late("INVALID", "ALREADY_ADMITTED"), "moot");
  assert.equal(late("INVALID", "ADMIT"), "pass");
  assert.equal(late("ADMIT", "INVALID"), "tell");
});

test("the phone's own word counts until a manifest that knows better", () => {
  const ledger = new Ledger([scan({ hash: "old", toldAt: 5 }), scan({ hash: "new", toldAt: 20 })], 10);
  ledger.note(scan({ hash: "waiting", waiting: 1 }));
  ledger.note(scan({ hash: "refused", result: "INVALID" }));
  ledger.note(scan({ hash: "undone", undone: true }));
  const found = ["old", "new", "waiting", "refused", "undone"].map((hash) => ledger.find(hash)?.hash);
  assert.deepEqual(found, [undefined, "new", "waiting", undefined, undefined]);
  ledger.note(scan({ hash: "waiting", at: OPENS, result: "EXIT" })); // told of late, it is no later
  assert.equal(ledger.find("waiting")?.result, "ADMIT");
  ledger.settle(21);
  assert.equal(ledger.find("new"), undefined);
  assert.equal(ledger.find("waiting")?.hash, "waiting");
});
