// When to try again, and how much at once. Pure: chance is an argument.

export const SCANS_MAX = 5_000; // that the server takes in one call
const SCANS_MIN = 50;
const FIRST_MS = 500;
const LAST_MS = 30_000;

/** After `failures` in a row, the first of which is 1; `chance` from 0 to 1 spreads the phones. */
export function pauseMs(failures: number, chance: number): number {
  const most = Math.min(LAST_MS, FIRST_MS * 2 ** (failures - 1));
  return most * (0.5 + chance / 2);
}

/** A weak network carries a small batch where it breaks off a large one. */
export function nextBatch(size: number, arrived: boolean): number {
  return arrived ? Math.min(SCANS_MAX, size * 2) : Math.max(SCANS_MIN, Math.floor(size / 2));
}
