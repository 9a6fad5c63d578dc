// One ticket at the door: asked of the server while it answers, else judged here.
//
// Nonces. Each question has one of its own. A question without an answer in time may have reached
// the server or not, so what is judged here instead is told later under a nonce of its own: told
// under the question's, a refusal of the server's would hide that somebody was let in. If it did
// arrive and was an admission, the scan told later is a mere duplicate. A phone that refused asks
// again under the old nonce when the same ticket comes back: if the server had let it in, it says
// so again, once.

import { type Api, Revoked, Silent } from "./api";
import { canBeToken } from "./codes";
import { judge, late, passes, verdictOf } from "./judging";
import type { Ledger } from "./ledger";
import type { Roll } from "./roll";
import { hashOf } from "./signature";
import type { Store } from "./store";
import type { Answer, Scan, Verdict } from "./words";

/** Longer, and the phone judges alone. */
export const PATIENCE_MS = 1_000;
const LATE_MS = 8_000; // an answer is still of use as long as that

/** `scan`: as it is kept; null where nothing was decided. `token` is in memory alone. */
export interface Judgement {
  token: string;
  verdict: Verdict;
  scan: Scan | null;
  offline: boolean;
}

export interface Surroundings {
  gate(): string | null;
  leaving(): boolean; // this is the way out
  online(): boolean;
  serverNow(): number;
  silent(): void; // the server has not answered in time
  told(): void; // a scan waits to be told
  /** An answer came late and stands for what was judged here; `pass`: which was a refusal. */
  late(nonce: string, judgement: Judgement, pass: boolean): void;
}

export class Doorkeeper {
  private readonly unanswered = new Map<string, string>(); // nonce by what was asked, if refused here

  constructor(
    private readonly api: Api,
    private readonly eventId: string,
    private readonly store: Store,
    private readonly roll: Roll,
    private readonly ledger: Ledger,
    private readonly around: Surroundings,
  ) {}

  /** Raises Revoked; what the line does wrong ends in a judgement. */
  async judge(token: string): Promise<Judgement> {
    if (!canBeToken(token)) {
      const verdict: Verdict = { result: "INVALID", reason: "unknown_token" };
      return { token, verdict, scan: null, offline: false };
    }
    const hash = await hashOf(token);
    if (!this.around.online()) return this.alone(token, hash);
    const nonce = this.unanswered.get(this.asking(hash)) ?? crypto.randomUUID();
    const asked = this.ask(token, nonce);
    const answer = await Promise.race([asked, silence(PATIENCE_MS)]);
    if (answer !== null) return this.answered(token, hash, nonce, answer);
    this.around.silent();
    const judgement = await this.alone(token, hash, nonce);
    asked
      .then((came) => came && this.cameLate(judgement, nonce, came))
      .catch(() => this.around.told()); // revoked: the next turn of the line says so, too
    return judgement;
  }

  /** Let in against a refusal: a supervisor's word, which needs the server. */
  async override(before: Judgement, reason: string): Promise<Judgement> {
    const nonce = crypto.randomUUID();
    const more = { override: true, reason };
    const path = `/v1/events/${this.eventId}/checkins`;
    const answer = await this.api.json<Answer>("POST", path, {
      body: { ...this.question(before.token, nonce), ...more },
    });
    return this.answered(before.token, await hashOf(before.token), nonce, answer);
  }

  /** Take an admission back; the scan must have been told of. */
  async undo(scan: Scan): Promise<void> {
    const nonces = scan.asked === undefined ? [scan.nonce] : [scan.asked, scan.nonce];
    for (const [place, nonce] of nonces.entries()) {
      try {
        await this.api.json("POST", `/v1/events/${this.eventId}/checkins/undo`, { body: { nonce } });
        break; // the one of the two that the server let in by
      } catch (error) {
        if (place + 1 === nonces.length || error instanceof Silent) throw error;
      }
    }
    this.ledger.forget(scan.hash);
    const { waiting: _, ...told } = scan;
    await this.store.keepScan({ ...told, undone: true });
  }

  private question(token: string, nonce: string): Record<string, unknown> {
    const gate = this.around.gate();
    const scannedAt = new Date().toISOString();
    return {
      token,
      nonce,
      scanned_at: scannedAt,
      ...(gate !== null && { gate }),
      ...(this.around.leaving() && { direction: "exit" }),
    };
  }

  private asking(hash: string): string {
    return this.around.leaving() ? `${hash} exit` : hash;
  }

  /** The answer, or null for silence; a refusal of the call itself is one as well. */
  private async ask(token: string, nonce: string): Promise<Answer | null> {
    const path = `/v1/events/${this.eventId}/checkins`;
    const body = this.question(token, nonce);
    try {
      return await this.api.json<Answer>("POST", path, { body, withinMs: LATE_MS });
    } catch (error) {
      if (error instanceof Revoked) throw error;
      return null;
    }
  }

  private async answered(
    token: string,
    hash: string,
    nonce: string,
    answer: Answer,
  ): Promise<Judgement> {
    this.unanswered.delete(this.asking(hash));
    const verdict = verdictOf(answer);
    const scan = this.scan(nonce, hash, verdict, { toldAt: Date.now() });
    this.ledger.note(scan);
    await this.store.keepScan(scan).catch(() => {}); // the server has it
    return { token, verdict, scan, offline: false };
  }

  /** The phone's own judgement, written down before anybody sees it. */
  private async alone(token: string, hash: string, asked?: string): Promise<Judgement> {
    const { head, tickets } = this.roll;
    if (head === undefined) {
      return { token, verdict: { result: "UNDECIDED" }, scan: null, offline: true };
    }
    const verdict = judge({
      ticket: tickets.find(hash),
      own: this.ledger.find(hash),
      doors: head.doors,
      tiers: head.tiers,
      gate: this.around.gate(),
      leaving: this.around.leaving(),
      nowMs: this.around.serverNow(),
    });
    const scan = this.scan(crypto.randomUUID(), hash, verdict, {
      waiting: 1,
      ...(asked !== undefined && { asked }),
    });
    this.ledger.note(scan); // before anything is awaited: two cameras' worth of haste let in one
    if (asked !== undefined && !passes(verdict.result)) {
      this.unanswered.set(this.asking(hash), asked);
    }
    try {
      await this.store.keepScan(scan);
    } catch (error) {
      if (passes(scan.result)) this.ledger.forget(hash); // nobody goes through by it
      throw error;
    }
    this.around.told();
    return { token, verdict, scan, offline: true };
  }

  private async cameLate(judgement: Judgement, nonce: string, answer: Answer): Promise<void> {
    const { token, scan } = judgement;
    if (scan === null) return;
    const what = late(scan.result, verdictOf(answer).result);
    if (what === "tell") return; // the refusal may come of our own scan, told meanwhile
    const known = await this.answered(token, scan.hash, nonce, answer);
    await this.store.dropScan(scan.nonce);
    this.around.late(scan.nonce, known, what === "pass");
  }

  private scan(
    nonce: string,
    hash: string,
    verdict: Verdict & { result: Scan["result"] },
    more: Partial<Scan>,
  ): Scan {
    const { result, reason } = verdict;
    const gate = this.around.gate();
    const why = reason === undefined ? {} : { reason };
    return { nonce, hash, at: Date.now(), gate, result, ...why, ...more };
  }
}

function silence(ms: number): Promise<null> {
  return new Promise((resolve) => setTimeout(resolve, ms, null));
}
