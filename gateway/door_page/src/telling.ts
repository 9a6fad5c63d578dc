// The queue of scans that the server has not been told of, and what it says to them. Pure.

import type { Scan, Told } from "./words";

/** One scan as `POST checkins/sync` takes it. */
export function told(scan: Scan): Record<string, unknown> {
  const { nonce, hash: token_hash, result, gate } = scan;
  const scanned_at = new Date(scan.at).toISOString();
  return { nonce, token_hash, scanned_at, result, ...(gate !== null && { gate }) };
}

/** The scans of a batch with the outcomes that came, in the order sent; others wait on. */
export function settled(batch: readonly Scan[], results: readonly Told[], now: number): Scan[] {
  const byNonce = new Map(results.map((result) => [result.nonce, result]));
  return batch.flatMap((scan) => {
    const result = byNonce.get(scan.nonce);
    if (result === undefined) return [];
    const { waiting: _, ...rest } = scan;
    const { checked_in_at: at, gate, reason } = result;
    const standing = {
      ...(at !== undefined && { at }),
      ...(gate !== undefined && { gate }),
      ...(reason !== undefined && { reason }),
    };
    return [{ ...rest, toldAt: now, outcome: result.outcome, standing }];
  });
}

/** Somebody was let in here who should not have been, and nobody has looked at it yet. */
export function isAlarming(scan: Scan): boolean {
  const wrong = ["conflict", "late_invalid", "unknown"].includes(scan.outcome ?? "");
  return wrong && scan.result === "ADMIT" && !scan.seen;
}
