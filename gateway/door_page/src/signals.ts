// Verdicts for ear and hand, each told from the others with closed eyes.

import type { Verdict } from "./words";

type Kind = Verdict["result"];
type Note = { hz: number; at: number; lasts: number; shape: OscillatorType }; // seconds

const TUNE: Record<Kind, Note[]> = {
  ADMIT: [
    { hz: 880, at: 0, lasts: 0.09, shape: "sine" },
    { hz: 1320, at: 0.1, lasts: 0.16, shape: "sine" },
  ],
  ALREADY_ADMITTED: [
    { hz: 520, at: 0, lasts: 0.14, shape: "triangle" },
    { hz: 520, at: 0.2, lasts: 0.14, shape: "triangle" },
  ],
  EXIT: [
    { hz: 1320, at: 0, lasts: 0.09, shape: "sine" },
    { hz: 880, at: 0.1, lasts: 0.16, shape: "sine" },
  ],
  INVALID: [{ hz: 170, at: 0, lasts: 0.55, shape: "sawtooth" }],
  UNDECIDED: [{ hz: 330, at: 0, lasts: 0.3, shape: "triangle" }],
};
const VIBRATION_MS: Record<Kind, number[]> = {
  ADMIT: [60],
  ALREADY_ADMITTED: [120, 80, 120],
  EXIT: [60],
  INVALID: [450],
  UNDECIDED: [200],
};
const VOLUME = 0.4;

export class Signals {
  private context: AudioContext | null = null;

  /** Browsers let a page sound only once it has been touched. */
  unlock(): void {
    this.context ??= new AudioContext();
    void this.context.resume();
  }

  give(kind: Kind, loud: boolean): void {
    if (navigator.userActivation?.hasBeenActive ?? true) navigator.vibrate?.(VIBRATION_MS[kind]);
    if (!loud || this.context === null) return;
    for (const note of TUNE[kind]) sound(this.context, note);
  }
}

function sound(context: AudioContext, { hz, at, lasts, shape }: Note): void {
  const from = context.currentTime + at;
  const tone = context.createOscillator();
  const volume = context.createGain();
  tone.type = shape;
  tone.frequency.value = hz;
  volume.gain.setValueAtTime(VOLUME, from);
  volume.gain.exponentialRampToValueAtTime(0.001, from + lasts);
  tone.connect(volume).connect(context.destination);
  tone.start(from);
  tone.stop(from + lasts);
}
