// What a supervisor's phone can do beside scanning: find somebody, see conflicts, let in against a
// refusal. All of it asks the server; nothing of it is kept.

import type { Api } from "./api";
import { line, plain } from "./menu";
import { made } from "./page";
import type { Sheet } from "./sheet";
import type { TicketStatus } from "./words";
import type { Phrase, Wording } from "./wording";

interface Attendee {
  ticket_id: string;
  tier: string;
  attendee_name: string | null;
  attendee_email: string | null;
  status: TicketStatus;
  checked_in_at: string | null;
}

interface Conflict {
  kind: "already_admitted" | "ended";
  gate: string | null;
  corrected_at: string;
  admission: { gate: string | null; admitted_at: string } | null;
}

interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

const FOUND_MAX = 20;
const CONFLICTS_MAX = 200;
const SOUGHT_MIN = 2; // letters
const REASON_MAX = 200;

export class Desk {
  constructor(
    private readonly api: Api,
    private readonly eventId: string,
    private readonly sheet: Sheet,
    private readonly wording: () => Wording,
  ) {}

  openFinding(): void {
    const say = this.say;
    const field = made("input", { id: "sought", autocomplete: "off", spellcheck: false });
    field.enterKeyHint = "search";
    const label = made("label", { htmlFor: "sought", textContent: say("find_name") });
    const press = made("button", { className: "main", textContent: say("find") });
    const found = made("div", {});
    found.setAttribute("role", "status");
    const form = made("form", { autocomplete: "off" }, label, field, press);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.find(field.value.trim(), found);
    });
    this.sheet.open(say("find"), form, found);
  }

  private async find(sought: string, into: HTMLElement): Promise<void> {
    if (sought.length < SOUGHT_MIN) return into.replaceChildren(this.quiet("find_short"));
    const path = `/v1/events/${this.eventId}/attendees?limit=${FOUND_MAX}&q=`;
    const page = await this.asked<Page<Attendee>>(path + encodeURIComponent(sought));
    if (page === null) return into.replaceChildren(this.quiet("needs_network"));
    if (page.items.length === 0) return into.replaceChildren(this.quiet("find_none"));
    into.replaceChildren(made("ul", {}, ...page.items.map((one) => this.attendee(one))));
  }

  private attendee(one: Attendee): Node {
    const wording = this.wording();
    const kind = { VALID: "go", OUT: "go", USED: "amber", CANCELLED: "no", TRANSFERRED: "no" }[one.status];
    const time = one.checked_in_at ? wording.time(one.checked_in_at) : "";
    const status = made("span", { className: kind, textContent: wording.say(`status_${one.status}`) });
    const name = made("b", { textContent: one.attendee_name ?? one.attendee_email ?? one.ticket_id });
    return line(name, status, one.tier, time);
  }

  async openConflicts(): Promise<void> {
    const wording = this.wording();
    const page = await this.asked<Page<Conflict>>(
      `/v1/events/${this.eventId}/conflicts?limit=${CONFLICTS_MAX}`,
    );
    const lines = page?.items.toReversed().map((one) => {
      const first = one.admission;
      const before = first && [wording.time(first.admitted_at), first.gate ?? wording.say("any_gate")];
      return line(
        made("b", { textContent: wording.say(`conflict_${one.kind}`) }),
        wording.time(one.corrected_at),
        before?.join(", ") ?? "",
        one.gate ?? wording.say("any_gate"),
      );
    });
    const none = this.quiet(lines === undefined ? "needs_network" : "conflicts_none");
    this.sheet.open(this.say("conflicts"), lines?.length ? made("ul", {}, ...lines) : none);
  }

  /** Why somebody may come in against the refusal; nothing happens without a reason. */
  openOverride(because: (reason: string) => void): void {
    const say = this.say;
    const decided = (reason: string) => {
      this.sheet.close();
      because(reason);
    };
    const field = made("input", { id: "reason", autocomplete: "off", maxLength: REASON_MAX, required: true });
    const label = made("label", { htmlFor: "reason", textContent: say("override_reason") });
    const press = made("button", { className: "main", textContent: say("override") });
    const form = made("form", { autocomplete: "off" }, label, field, press);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (field.value.trim()) decided(field.value.trim());
    });
    const usual = (["reason_name", "reason_guest", "reason_device"] as const).map((phrase) =>
      plain(say(phrase), () => decided(say(phrase))),
    );
    this.sheet.open(say("override_heading"), ...usual, form);
  }

  private readonly say = (phrase: Phrase): string => this.wording().say(phrase);

  private quiet(phrase: Phrase): Node {
    return made("p", { className: "quiet", textContent: this.say(phrase) });
  }

  private asked<T>(path: string): Promise<T | null> {
    return this.api.json<T>("GET", path).catch(() => null);
  }
}
