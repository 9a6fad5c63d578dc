// Whom this phone has let in or out, as long as no manifest says so yet. Pure.
//
// A manifest that was asked for after the server knew of a scan knows better than the phone, an
// undone admission too: then the phone's own word has served its time.

import { passes } from "./judging";
import type { Scan } from "./words";

export class Ledger {
  private readonly byHash = new Map<string, Scan>();

  /** `askedAt`: of the manifest at hand. */
  constructor(scans: readonly Scan[], askedAt: number) {
    for (const scan of scans) {
      if (scan.toldAt === undefined || scan.toldAt >= askedAt) this.note(scan);
    }
  }

  /** The latest of a ticket counts, in whatever order they are noted. */
  note(scan: Scan): void {
    const known = this.byHash.get(scan.hash);
    const later = known === undefined || known.at <= scan.at;
    if (passes(scan.result) && !scan.undone && later) this.byHash.set(scan.hash, scan);
  }

  forget(hash: string): void {
    this.byHash.delete(hash);
  }

  find(hash: string): Scan | undefined {
    return this.byHash.get(hash);
  }

  /** A manifest is here that was asked for at that time. */
  settle(askedAt: number): void {
    for (const [hash, scan] of this.byHash) {
      if (scan.toldAt !== undefined && scan.toldAt < askedAt) this.byHash.delete(hash);
    }
  }
}
