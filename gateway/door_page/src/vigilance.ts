// How often the camera is looked at, so that a battery lasts the evening. Pure.

const BUSY_MS = 100;
const DROWSY_MS = 330;
const DROWSY_AFTER_MS = 30_000;
const ASLEEP_AFTER_MS = 4 * 60_000;

/** Until the next frame; null: put the camera out. `idleMs`: since somebody was here. */
export function frameMs(idleMs: number): number | null {
  if (idleMs >= ASLEEP_AFTER_MS) return null;
  return idleMs >= DROWSY_AFTER_MS ? DROWSY_MS : BUSY_MS;
}
