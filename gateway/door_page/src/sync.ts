// The line to the server: tells what waits, asks what has changed, notices when there is none.
//
// One turn after another, never two at once. While turns fail the line counts as down, scans are
// judged here at once, and the next turn comes after a pause that grows; a good one brings it up.

import { type Api, Revoked } from "./api";
import { SCANS_MAX, nextBatch, pauseMs } from "./backoff";
import type { Ledger } from "./ledger";
import { Forged, type Roll } from "./roll";
import { NoEd25519 } from "./signature";
import type { Store } from "./store";
import { settled, told } from "./telling";
import type { Device, Result, Scan, Told } from "./words";

const EVERY_MS = 15_000;
const TELL_WITHIN_MS = 30_000;

export interface Listener {
  changed(): void; // the line, the queue, the counts
  outcomes(scans: readonly Scan[]): void;
  revoked(): void;
}

/** `trust`: why the manifest is not believed, if it is not. `inside`: by all doors. */
export class Sync {
  online = true;
  waiting = 0;
  inside: number | null = null;
  trust: "good" | "forged" | "unable" = "good";
  private failures = 0;
  private batch = SCANS_MAX;
  private offsetMs = 0;
  private over = false;
  private telling: Promise<void> = Promise.resolve();
  private rouse: () => void = () => {};

  constructor(
    private readonly api: Api,
    private readonly device: Device,
    private readonly store: Store,
    private readonly roll: Roll,
    private readonly ledger: Ledger,
    private readonly listener: Listener,
  ) {}

  /** The server's clock, as far as the last answer tells. */
  serverNow(): number {
    return Date.now() + this.offsetMs;
  }

  /** Somebody came in or went out here; the next count has it from the server. */
  passed(result: Result): void {
    const change = { ADMIT: 1, EXIT: -1, ALREADY_ADMITTED: 0, INVALID: 0 }[result];
    if (this.inside !== null) this.inside += change;
  }

  /** A question had no answer: scans are judged here until a turn has gone well. */
  silent(): void {
    if (this.online) {
      this.online = false;
      this.listener.changed();
    }
    this.wake();
  }

  wake(): void {
    this.rouse();
  }

  stop(): void {
    this.over = true;
    this.wake();
  }

  async run(): Promise<void> {
    this.waiting = await this.store.countWaiting();
    while (!this.over) {
      const awake = this.next();
      const pause = await this.turn();
      this.listener.changed();
      await Promise.race([awake, new Promise((resolve) => setTimeout(resolve, pause))]);
    }
  }

  /** Resolves when somebody wakes us from now on, during a turn too. */
  private next(): Promise<void> {
    return new Promise((resolve) => (this.rouse = resolve));
  }

  /** The pause until the next. */
  private async turn(): Promise<number> {
    try {
      await this.tell();
      await this.refresh();
      await this.count();
      this.failures = 0;
      this.online = true;
      return EVERY_MS;
    } catch (error) {
      if (error instanceof Revoked) {
        this.over = true;
        this.listener.revoked();
        return 0;
      }
      this.failures += 1;
      this.online = false;
      return pauseMs(this.failures, Math.random());
    }
  }

  /** Everything that waits; one at a time. */
  async tell(): Promise<void> {
    this.telling = this.telling.catch(() => {}).then(() => this.tellAll());
    await this.telling;
  }

  private async tellAll(): Promise<void> {
    for (;;) {
      const scans = await this.store.waiting(this.batch);
      this.waiting = await this.store.countWaiting();
      if (scans.length === 0) return;
      const results = await this.send(scans);
      const known = settled(scans, results, Date.now());
      await this.store.keepScans(known);
      for (const scan of known) this.ledger.note(scan);
      this.waiting = await this.store.countWaiting();
      this.listener.outcomes(known);
      if (known.length === 0) throw new Error("the server passes over what it is told");
    }
  }

  private async send(scans: readonly Scan[]): Promise<Told[]> {
    const path = `/v1/events/${this.device.eventId}/checkins/sync`;
    const sent_at = new Date().toISOString();
    const body = { device_id: this.device.deviceId, sent_at, scans: scans.map(told) };
    const headers = await this.signs();
    let arrived = false;
    try {
      const asking = { body, headers, withinMs: TELL_WITHIN_MS };
      const answer = await this.api.json<{ results: Told[]; clock_offset_ms: number }>(
        "POST",
        path,
        asking,
      );
      arrived = true;
      this.offsetMs = answer.clock_offset_ms;
      return answer.results;
    } finally {
      this.batch = nextBatch(this.batch, arrived);
    }
  }

  private async refresh(): Promise<void> {
    try {
      await this.roll.refresh(this.api, await this.signs());
      this.trust = "good";
    } catch (error) {
      if (error instanceof Forged) this.trust = "forged";
      else if (error instanceof NoEd25519) this.trust = "unable";
      else throw error;
    }
    if (this.roll.head !== undefined) this.ledger.settle(this.roll.head.askedAt);
  }

  private async count(): Promise<void> {
    const response = await this.api.answer("GET", `/v1/events/${this.device.eventId}/doors`);
    const date = Date.parse(response.headers.get("Date") ?? "");
    if (Math.abs(date - this.serverNow()) > 2_000) this.offsetMs = date - Date.now();
    this.inside = ((await response.json()) as { inside: number }).inside;
  }

  private async signs(): Promise<Record<string, string>> {
    const level = await batteryLevel();
    const queue = { "Device-Queue": String(this.waiting) };
    return level === null ? queue : { ...queue, "Device-Battery": level.toFixed(2) };
  }
}

async function batteryLevel(): Promise<number | null> {
  const asked = navigator as { getBattery?: () => Promise<{ level: number }> };
  return (await asked.getBattery?.().catch(() => null))?.level ?? null;
}
