import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { Tickets } from "../src/tickets";
import type { Manifest, TicketStatus } from "../src/words";

const hash = (n: number) => createHash("sha256").update(String(n)).digest("hex");
const rows = (many: number, status: TicketStatus = "VALID"): Manifest["tickets"] =>
  Array.from({ length: many }, (_, n) => [hash(n), n % 300, status]);

test("every ticket is found by its hash, and no other", () => {
  const tickets = new Tickets();
  tickets.replace(rows(2_000));
  for (let n = 0; n < 2_000; n++) {
    assert.deepEqual(tickets.find(hash(n)), { tier: n % 300, status: "VALID" });
  }
  assert.equal(tickets.find(hash(2_000)), undefined);
  assert.equal(tickets.living, 2_000);
});

test("a change takes the place of its row, and names the buckets that it touched", () => {
  const tickets = new Tickets();
  tickets.replace(rows(1_000));
  const changed = tickets.put([[hash(7), 7, "CANCELLED"], [hash(5_000), 1, "VALID"]]);
  const firsts = [hash(7), hash(5_000)].map((text) => Number.parseInt(text.slice(0, 2), 16));
  assert.deepEqual(new Set(changed), new Set(firsts));
  assert.equal(tickets.find(hash(7))?.status, "CANCELLED");
  assert.equal(tickets.find(hash(5_000))?.tier, 1);
  assert.equal(tickets.living, 1_000);
});

test("buckets that were kept are the same tickets again", () => {
  const tickets = new Tickets();
  tickets.replace(rows(500, "USED"));
  const kept = Array.from({ length: 256 }, (_, place) => tickets.bucket(place));
  assert.deepEqual(new Tickets(kept).find(hash(3)), { tier: 3, status: "USED" });
});

test("100,000 tickets are 3.5 MB", () => {
  const tickets = new Tickets();
  tickets.replace(rows(100_000));
  let bytes = 0;
  for (let place = 0; place < 256; place++) bytes += tickets.bucket(place).length;
  assert.equal(bytes, 3_500_000);
});
