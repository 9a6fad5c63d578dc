import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { test } from "node:test";
import { canonical } from "../src/canonical";
import { hashOf, isGenuine } from "../src/signature";
import type { Manifest } from "../src/words";

test("names stand in order, without spaces, and text stays as it is", () => {
  const value = { tiers: [{ name: 'VIP "Gold" ☃ é\t\u007f', id: 1 }], a: null, "€": true, "\r": 2 };
  const wanted = '{"\\r":2,"a":null,"tiers":[{"id":1,"name":"VIP \\"Gold\\" ☃ é\\t\u007f"}],"€":true}';
  assert.equal(canonical(value), wanted);
});

const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const raw = publicKey.export({ format: "jwk" }).x!;

function signed(): Manifest {
  const rest = {
    event_id: "evt_1",
    version: 3,
    cursor: "life-7",
    full: true,
    doors: { opens_at: "2031-05-01T03:00:00.000Z", cancelled: false, reentry: false, gates: [] },
    tiers: [{ tier_id: "t", name: "GENERAL" }],
    tickets: [["0".repeat(64), 0, "VALID"]] as Manifest["tickets"],
  };
  const signature = sign(null, Buffer.from(canonical(rest)), privateKey).toString("base64url");
  return { ...rest, signature };
}

test("a manifest is genuine as it was signed, and not with a letter changed", async () => {
  assert.equal(await isGenuine(signed(), raw), true);
  const forged = signed();
  forged.tickets[0]![2] = "USED";
  assert.equal(await isGenuine(forged, raw), false);
  const other = generateKeyPairSync("ed25519").publicKey.export({ format: "jwk" }).x!;
  assert.equal(await isGenuine(signed(), other), false);
});

test("a token's hash is its SHA-256 in hex", async () => {
  const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  assert.equal(await hashOf(""), empty);
});
