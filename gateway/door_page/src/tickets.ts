// The tickets of an event by the hash of their token, packed: 100,000 of them are 3.5 MB.
//
// They lie in 256 buckets by the hash's first byte, so that a look-up reads one and a change is
// written to the database as the few buckets that it touched.

import type { Manifest, TicketStatus } from "./words";

export interface Ticket {
  tier: number;
  status: TicketStatus;
}

const BUCKETS = 256;
const HASH_BYTES = 32;
const ROW_BYTES = HASH_BYTES + 3; // hash, status, tier (big-endian)
const STATUSES: readonly TicketStatus[] = ["VALID", "USED", "OUT", "CANCELLED", "TRANSFERRED"];
const LIVING = 3; // the first of those

export class Tickets {
  private readonly buckets: Uint8Array[];

  constructor(buckets: readonly (Uint8Array | undefined)[] = []) {
    this.buckets = Array.from({ length: BUCKETS }, (_, place) => buckets[place] ?? new Uint8Array());
  }

  find(hash: string): Ticket | undefined {
    const key = bytesOf(hash);
    const rows = this.bucket(key[0]!);
    const at = placeIn(rows, key);
    if (at < 0) return undefined;
    const tier = (rows[at + HASH_BYTES + 1]! << 8) | rows[at + HASH_BYTES + 2]!;
    return { tier, status: STATUSES[rows[at + HASH_BYTES]!]! };
  }

  /** All there is, in place of all there was. */
  replace(rows: Manifest["tickets"]): void {
    this.buckets.fill(new Uint8Array());
    this.put(rows, true);
  }

  /** A row takes the place of the one with its hash. The buckets that changed. */
  put(rows: Manifest["tickets"], allNew = false): number[] {
    const byBucket = new Map<number, Uint8Array[]>();
    for (const row of rows) {
      const packed = pack(row);
      const place = packed[0]!;
      const others = byBucket.get(place);
      if (others) others.push(packed);
      else byBucket.set(place, [packed]);
    }
    for (const [place, packed] of byBucket) {
      this.buckets[place] = merged(this.bucket(place), packed, allNew);
    }
    return [...byBucket.keys()];
  }

  bucket(place: number): Uint8Array {
    return this.buckets[place]!;
  }

  /** Those that may come in or have: neither cancelled nor given away. */
  get living(): number {
    let count = 0;
    for (const rows of this.buckets) {
      for (let at = HASH_BYTES; at < rows.length; at += ROW_BYTES) if (rows[at]! < LIVING) count++;
    }
    return count;
  }
}

function merged(before: Uint8Array, packed: Uint8Array[], allNew: boolean): Uint8Array {
  const added: Uint8Array[] = [];
  const rows = new Uint8Array(before);
  for (const row of packed) {
    const at = allNew ? -1 : placeIn(rows, row);
    if (at < 0) added.push(row);
    else rows.set(row, at);
  }
  const whole = new Uint8Array(rows.length + added.length * ROW_BYTES);
  whole.set(rows);
  added.forEach((row, place) => whole.set(row, rows.length + place * ROW_BYTES));
  return whole;
}

function placeIn(rows: Uint8Array, key: Uint8Array): number {
  for (let at = 0; at < rows.length; at += ROW_BYTES) {
    let same = 0;
    while (same < HASH_BYTES && rows[at + same] === key[same]) same++;
    if (same === HASH_BYTES) return at;
  }
  return -1;
}

function pack([hash, tier, status]: Manifest["tickets"][number]): Uint8Array {
  const row = new Uint8Array(ROW_BYTES);
  row.set(bytesOf(hash));
  row[HASH_BYTES] = STATUSES.indexOf(status);
  row[HASH_BYTES + 1] = tier >> 8;
  row[HASH_BYTES + 2] = tier & 255;
  return row;
}

function bytesOf(hash: string): Uint8Array {
  const bytes = new Uint8Array(HASH_BYTES);
  for (let place = 0; place < HASH_BYTES; place++) {
    bytes[place] = Number.parseInt(hash.slice(2 * place, 2 * place + 2), 16);
  }
  return bytes;
}
