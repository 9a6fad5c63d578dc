// A phone at its door: everything that works there, joined. It ends when the phone is revoked or
// removed.

import { Announcement } from "./announcement";
import { Api, Revoked } from "./api";
import { typedToken } from "./codes";
import { Desk } from "./desk";
import { Doorkeeper, type Judgement } from "./doorkeeper";
import { Ledger } from "./ledger";
import { openMore, openScans, openTyping } from "./menu";
import { at } from "./page";
import type { Preferences } from "./preferences";
import { Roll } from "./roll";
import type { Sheet } from "./sheet";
import type { Signals } from "./signals";
import { nameDevice, notice, showState } from "./stage";
import type { Store } from "./store";
import { Sync } from "./sync";
import { isAlarming } from "./telling";
import type { Device, Scan } from "./words";
import type { Phrase, Wording } from "./wording";

const SAID_MS = 4_000;
const IN_HAND_MAX = 3; // codes that wait for their turn

export interface House {
  store: Store;
  sheet: Sheet;
  signals: Signals;
  preferences: Preferences;
  wording(): Wording;
  restyle(): void; // preferences have changed
  ended(revoked: boolean): Promise<void>;
}

export class Door {
  private readonly api: Api;
  private readonly desk: Desk;
  private readonly announcement: Announcement;
  private readonly sync: Sync;
  private readonly keeper: Doorkeeper;
  private turn: Promise<void> = Promise.resolve();
  private inHand = 0;
  private ended = false;
  private said: Phrase | null = null;

  private constructor(
    private readonly house: House,
    private readonly device: Device,
    private readonly roll: Roll,
    ledger: Ledger,
    private gate: string | null,
    private leaving: boolean,
    private scans: Scan[], // the latest last
  ) {
    const { store, signals, preferences } = house;
    this.api = new Api(device.token);
    this.desk = new Desk(this.api, device.eventId, house.sheet, house.wording);
    this.announcement = new Announcement(signals, house.wording, () => preferences.sound);
    this.sync = new Sync(this.api, device, store, roll, ledger, {
      changed: () => this.show(),
      outcomes: (scans) => this.came(scans),
      revoked: () => void this.end(true),
    });
    this.keeper = new Doorkeeper(this.api, device.eventId, store, roll, ledger, {
      gate: () => this.gate,
      online: () => this.sync.online,
      serverNow: () => this.sync.serverNow(),
      silent: () => this.sync.silent(),
      told: () => this.sync.wake(),
      leaving: () => this.leaving,
      late: (nonce, judgement, pass) => this.cameLate(nonce, judgement, pass),
    });
  }

  static async open(house: House, device: Device): Promise<Door> {
    const { store } = house;
    await store.tidy();
    const [roll, scans] = await Promise.all([Roll.load(store, device), store.scans()]);
    const ledger = new Ledger(scans, roll.head?.askedAt ?? -Infinity);
    const gate = device.gate ?? (await store.gate());
    return new Door(house, device, roll, ledger, gate, await store.leaving(), scans);
  }

  start(): void {
    for (const name of ["online", "focus", "pageshow"]) {
      window.addEventListener(name, () => this.sync.wake());
    }
    at("undo").onclick = () => void this.undo();
    at("override").onclick = () => this.override();
    at("alarm").onclick = () => void this.openAlarms();
    at("type").onclick = () => this.type();
    at("out").onclick = () => void this.turnAround();
    at("more").onclick = () => this.openMore();
    void this.sync.run();
    this.show();
  }

  /** A code, from wherever. One after another, so that each verdict is seen. */
  scanned(token: string, tookMs: number): void {
    if (this.inHand >= IN_HAND_MAX || this.ended) return;
    this.inHand += 1;
    document.body.classList.add("asking");
    this.turn = this.turn.then(() => this.handle(token, tookMs));
  }

  private async handle(token: string, tookMs: number): Promise<void> {
    try {
      this.announce(await this.keeper.judge(token), tookMs);
    } catch (error) {
      if (error instanceof Revoked) return await this.end(true);
      // The phone can't write: what it can't keep it must not let in.
      const verdict = { result: "UNDECIDED", reason: "unkept" } as const;
      this.announce({ token, verdict, scan: null, offline: true }, tookMs);
    } finally {
      this.inHand -= 1;
      if (this.inHand === 0) document.body.classList.remove("asking");
    }
  }

  private announce(judgement: Judgement, tookMs: number): void {
    if (this.ended) return;
    if (judgement.scan) this.scans.push(judgement.scan);
    if (judgement.scan) this.sync.passed(judgement.scan.result);
    this.announcement.show(judgement, this.device.profile === "supervisor", tookMs);
    this.show();
  }

  private cameLate(nonce: string, judgement: Judgement, pass: boolean): void {
    this.scans = this.scans.filter((scan) => scan.nonce !== nonce);
    if (pass) return this.announce(judgement, performance.now());
    if (judgement.scan) this.scans.push(judgement.scan);
    this.show();
  }

  /** The server's word on what was judged here. */
  private came(told: readonly Scan[]): void {
    const byNonce = new Map(told.map((scan) => [scan.nonce, scan]));
    this.scans = this.scans.map((scan) => byNonce.get(scan.nonce) ?? scan);
    if (told.some(isAlarming)) this.house.signals.give("INVALID", this.house.preferences.sound);
    this.show();
  }

  show(): void {
    if (this.ended) return;
    const wording = this.house.wording();
    nameDevice(this.device, this.gate, wording);
    const state = {
      online: this.sync.online,
      waiting: this.scans.filter((scan) => scan.waiting).length,
      inside: this.sync.inside,
      reentry: this.roll.head?.doors.reentry ?? false,
      leaving: this.leaving,
      living: this.roll.living,
      here: this.scans.filter((scan) => scan.result === "ADMIT" && !scan.undone).length,
      alarms: this.scans.filter(isAlarming).length,
      notice: this.said ?? (this.sync.trust === "good" ? null : this.sync.trust),
    };
    showState(state, wording);
  }

  private say(phrase: Phrase): void {
    this.said = phrase;
    this.show();
    setTimeout(() => {
      this.said = null;
      this.show();
    }, SAID_MS);
  }

  private type(): void {
    const { sheet } = this.house;
    openTyping(sheet, this.house.wording(), (text) => {
      this.scanned(typedToken(text), performance.now());
    });
  }

  private async undo(): Promise<void> {
    const scan = this.announcement.current?.scan;
    if (!scan) return;
    this.announcement.dismiss();
    try {
      await this.sync.tell();
      await this.keeper.undo((await this.house.store.scan(scan.nonce)) ?? scan);
      const taken = [scan.nonce, scan.asked];
      this.scans = this.scans.map((one) => (taken.includes(one.nonce) ? { ...one, undone: true } : one));
      this.say("undone");
      this.sync.wake();
    } catch {
      this.say("undo_failed");
    }
  }

  private override(): void {
    const before = this.announcement.current;
    if (!before) return;
    this.desk.openOverride((reason) => {
      this.announcement.dismiss();
      this.keeper.override(before, reason).then(
        (judgement) => this.announce(judgement, performance.now()),
        () => this.say("override_failed"),
      );
    });
  }

  private openMore(): void {
    const { sheet, preferences } = this.house;
    openMore(sheet, this.house.wording(), preferences, {
      gates: this.roll.head?.doors.gates.map((gate) => gate.name) ?? [],
      gate: this.gate,
      bound: this.device.gate !== null,
      waiting: this.scans.filter((scan) => scan.waiting).length,
      supervisor: this.device.profile === "supervisor",
      chooseGate: (gate) => void this.chooseGate(gate),
      changed: () => this.house.restyle(),
      find: () => this.desk.openFinding(),
      conflicts: () => void this.desk.openConflicts(),
      scans: () => openScans(sheet, this.house.wording(), "scans", this.scans.toReversed()),
      remove: () => void this.end(false),
    });
  }

  /** To the way out, or in again. */
  private async turnAround(): Promise<void> {
    this.leaving = !this.leaving;
    await this.house.store.keepLeaving(this.leaving);
    this.show();
  }

  private async chooseGate(gate: string | null): Promise<void> {
    this.gate = gate;
    await this.house.store.keepGate(gate);
    this.show();
  }

  /** Looked at, they need not be shown again. */
  private async openAlarms(): Promise<void> {
    const alarming = this.scans.filter(isAlarming);
    openScans(this.house.sheet, this.house.wording(), "alarm_heading", alarming.toReversed());
    const seen = alarming.map((scan) => ({ ...scan, seen: true }));
    await this.house.store.keepScans(seen);
    this.came(seen);
  }

  private async end(revoked: boolean): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    this.sync.stop();
    this.announcement.dismiss();
    this.house.sheet.close();
    this.scans = [];
    notice(null);
    await this.house.store.wipe();
    await this.house.ended(revoked);
  }
}
