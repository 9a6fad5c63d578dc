// What the camera sees, frame by frame, as sightings: a code that stays in view is one. Pure.

export const GONE_MS = 1_500; // out of view as long, and it is a new sighting

export class Sighting {
  private text: string | null = null;
  private lastMs = -Infinity;

  /** Whether the code has just come into view. */
  isNew(text: string, nowMs: number): boolean {
    const same = text === this.text && nowMs - this.lastMs < GONE_MS;
    this.text = text;
    this.lastMs = nowMs;
    return !same;
  }

  forget(): void {
    this.text = null;
  }
}
