// The roll of tickets that this phone judges by: the manifest, kept up to date and believed only
// with the event's signature.

import type { Api } from "./api";
import { isGenuine } from "./signature";
import type { Store } from "./store";
import type { Tickets } from "./tickets";
import type { Device, Manifest, ManifestHead } from "./words";

/** What came is not signed by the event, or is another event's. */
export class Forged extends Error {}

const BUCKETS = Array.from({ length: 256 }, (_, place) => place);
const FETCH_WITHIN_MS = 60_000; // 4 MB over a bad line

export class Roll {
  private constructor(
    private readonly store: Store,
    private readonly device: Device,
    readonly tickets: Tickets,
    private known: ManifestHead | undefined,
    public living: number,
  ) {}

  static async load(store: Store, device: Device): Promise<Roll> {
    const tickets = await store.tickets();
    return new Roll(store, device, tickets, await store.head(), tickets.living);
  }

  get head(): ManifestHead | undefined {
    return this.known;
  }

  /** Ask for what has changed. Raises Forged, NoEd25519, and what `Api.answer` raises. */
  async refresh(api: Api, headers: Record<string, string>): Promise<void> {
    const before = this.known;
    const path = `/v1/events/${this.device.eventId}/manifest`;
    const query = before === undefined ? "" : `?cursor=${encodeURIComponent(before.cursor)}`;
    if (before?.etag) headers = { ...headers, "If-None-Match": before.etag };
    const askedAt = Date.now();
    const response = await api.answer("GET", path + query, { headers, withinMs: FETCH_WITHIN_MS });
    if (response.status === 304 && before !== undefined) {
      this.known = { ...before, askedAt };
      return;
    }
    const manifest = (await response.json()) as Manifest;
    const ours = manifest.event_id === this.device.eventId;
    if (!ours || !(await isGenuine(manifest, this.device.publicKey))) throw new Forged();
    await this.take(manifest, response.headers.get("ETag"), askedAt);
  }

  private async take(manifest: Manifest, etag: string | null, askedAt: number): Promise<void> {
    const { cursor, doors, tiers, full } = manifest;
    let changed = BUCKETS;
    if (full) this.tickets.replace(manifest.tickets);
    else changed = this.tickets.put(manifest.tickets);
    if (changed.length > 0) this.living = this.tickets.living;
    this.known = { cursor, etag, doors, tiers, askedAt };
    await this.store.keepManifest(this.known, this.tickets, changed);
  }
}
