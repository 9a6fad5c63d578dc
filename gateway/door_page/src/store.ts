// What outlives the page: the device, the manifest, the scans. IndexedDB, for there is no other
// place that survives a reload and takes megabytes. Of tokens it holds hashes, of people nothing.

import { type DBSchema, type IDBPDatabase, deleteDB, openDB } from "idb";
import { Tickets } from "./tickets";
import type { Device, ManifestHead, Scan } from "./words";

const NAME = "door";
const BUCKETS = 256;
export const SCANS_KEPT_MAX = 20_000; // that the server knows of; those that wait are all kept

interface Schema extends DBSchema {
  kept: { key: string; value: unknown };
  buckets: { key: number; value: Uint8Array };
  scans: { key: string; value: Scan; indexes: { waiting: number; at: number } };
}

export class Store {
  private constructor(private readonly db: IDBPDatabase<Schema>) {}

  static async open(): Promise<Store> {
    const db = await openDB<Schema>(NAME, 1, {
      upgrade(made) {
        made.createObjectStore("kept");
        made.createObjectStore("buckets");
        const scans = made.createObjectStore("scans", { keyPath: "nonce" });
        scans.createIndex("waiting", "waiting");
        scans.createIndex("at", "at");
      },
      blocking: (_, __, event) => (event.target as IDBDatabase).close(), // it is being deleted
    });
    return new Store(db);
  }

  async device(): Promise<Device | undefined> {
    return (await this.db.get("kept", "device")) as Device | undefined;
  }

  /** A device, and nothing of another that was here before it. */
  async enrol(device: Device): Promise<void> {
    const change = this.db.transaction(["kept", "buckets", "scans"], "readwrite");
    await Promise.all([
      change.objectStore("kept").clear(),
      change.objectStore("buckets").clear(),
      change.objectStore("scans").clear(),
      change.objectStore("kept").put(device, "device"),
      change.done,
    ]);
  }

  async gate(): Promise<string | null> {
    return ((await this.db.get("kept", "gate")) as string | undefined) ?? null;
  }

  async keepGate(gate: string | null): Promise<void> {
    await this.db.put("kept", gate, "gate");
  }

  async leaving(): Promise<boolean> {
    return (await this.db.get("kept", "leaving")) === true;
  }

  async keepLeaving(leaving: boolean): Promise<void> {
    await this.db.put("kept", leaving, "leaving");
  }

  async head(): Promise<ManifestHead | undefined> {
    return (await this.db.get("kept", "manifest")) as ManifestHead | undefined;
  }

  async tickets(): Promise<Tickets> {
    const places = Array.from({ length: BUCKETS }, (_, place) => place);
    const reading = this.db.transaction("buckets");
    return new Tickets(await Promise.all(places.map((place) => reading.store.get(place))));
  }

  /** The head and these buckets together, so that a cursor never runs ahead of its tickets. */
  async keepManifest(head: ManifestHead, tickets: Tickets, changed: number[]): Promise<void> {
    const change = this.db.transaction(["kept", "buckets"], "readwrite");
    const buckets = change.objectStore("buckets");
    await Promise.all([
      change.objectStore("kept").put(head, "manifest"),
      ...changed.map((place) => buckets.put(tickets.bucket(place), place)),
      change.done,
    ]);
  }

  /** Durable when it returns: the light may turn green. */
  async keepScan(scan: Scan): Promise<void> {
    const change = this.db.transaction("scans", "readwrite", { durability: "strict" });
    await Promise.all([change.store.put(scan), change.done]);
  }

  async keepScans(scans: readonly Scan[]): Promise<void> {
    const change = this.db.transaction("scans", "readwrite");
    await Promise.all([...scans.map((scan) => change.store.put(scan)), change.done]);
  }

  async dropScan(nonce: string): Promise<void> {
    await this.db.delete("scans", nonce);
  }

  async scan(nonce: string): Promise<Scan | undefined> {
    return this.db.get("scans", nonce);
  }

  async scans(): Promise<Scan[]> {
    return this.db.getAllFromIndex("scans", "at");
  }

  async waiting(most?: number): Promise<Scan[]> {
    return this.db.getAllFromIndex("scans", "waiting", 1, most);
  }

  async countWaiting(): Promise<number> {
    return this.db.countFromIndex("scans", "waiting", 1);
  }

  /** The oldest of what the server knows goes, beyond the most that is kept. */
  async tidy(): Promise<void> {
    let over = (await this.db.count("scans")) - SCANS_KEPT_MAX;
    const change = this.db.transaction("scans", "readwrite");
    let cursor = over > 0 ? await change.store.index("at").openCursor() : null;
    for (; cursor && over > 0; over--) {
      if (cursor.value.waiting === undefined) await cursor.delete();
      cursor = await cursor.continue();
    }
    await change.done;
  }

  /** Everything, for good. */
  async wipe(): Promise<void> {
    this.db.close();
    await deleteDB(NAME);
    for (const name of await caches.keys()) await caches.delete(name);
  }
}
