import assert from "node:assert/strict";
import { test } from "node:test";
import { canBeToken, enrolmentIn, typedToken } from "../src/codes";
import { Wedge } from "../src/wedge";

test("an enrolment code is found in any writing and behind the page's address", () => {
  for (const text of ["ABCD-EFGH-2345-67QR", " abcd efgh 2345 67qr ", "https://x.test/door#ABCDEFGH234567QR"]) {
    assert.equal(enrolmentIn(text), "ABCDEFGH234567QR");
  }
  for (const text of ["", "ABCD", "0e5a62c4-5a2b-4d2a-9d0e-2f1c7f3a8b11", "https://x.test/door#"]) {
    assert.equal(enrolmentIn(text), null);
  }
});

test("a token typed by hand gets its hyphens and small letters", () => {
  const token = "0e5a62c4-5a2b-4d2a-9d0e-2f1c7f3a8b11";
  assert.equal(typedToken(" 0E5A62C4 5A2B4D2A9D0E2F1C7F3A8B11 "), token);
  assert.equal(typedToken(" Another Code "), "Another Code");
  assert.equal(canBeToken(""), false);
  assert.equal(canBeToken("x".repeat(513)), false);
});

test("quick keys closed by Enter are a scan, slow ones are not", () => {
  const type = (between: number) => {
    const wedge = new Wedge();
    const heard = [..."0e5a62c4", "Enter"].map((key, place) => wedge.key(key, 1_000 + place * between));
    return heard.find((text) => text !== null) ?? null;
  };
  assert.equal(type(10), "0e5a62c4");
  assert.equal(type(400), null);
});
