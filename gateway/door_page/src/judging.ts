// What a ticket is worth without a network: by the manifest, and by what this phone let in itself.
// Pure. The order of the reasons is the server's own.

import type { Ticket } from "./tickets";
import type { Answer, Doors, Result, Scan, Tier, Verdict } from "./words";

export interface Knowledge {
  ticket: Ticket | undefined;
  own: Scan | undefined; // by which this phone let the ticket in
  doors: Doors;
  tiers: readonly Tier[];
  gate: string | null;
  nowMs: number; // by the server's clock, as far as it is known
}

export type Judged = Verdict & { result: Result };

export function judge(known: Knowledge): Judged {
  const { ticket, own } = known;
  if (ticket === undefined) return { result: "INVALID", reason: "unknown_token" };
  const named = known.tiers[ticket.tier]?.name;
  const tier = named === undefined ? {} : { tier: named };
  const reason = whyInvalid(ticket, known);
  if (reason !== null) return { result: "INVALID", reason, ...tier };
  if (own !== undefined) return { result: "ALREADY_ADMITTED", ...tier, ...firstTime(own) };
  return { result: ticket.status === "USED" ? "ALREADY_ADMITTED" : "ADMIT", ...tier };
}

function whyInvalid(ticket: Ticket, { doors, gate, nowMs }: Knowledge): string | null {
  if (doors.cancelled) return "event_cancelled";
  if (ticket.status === "CANCELLED") return "refunded";
  if (ticket.status === "TRANSFERRED") return "transferred";
  if (nowMs < Date.parse(doors.opens_at)) return "not_open";
  const admitted = doors.gates.find((one) => one.name === gate)?.tiers ?? [];
  if (admitted.length > 0 && !admitted.includes(ticket.tier)) return "tier_not_admitted";
  return null;
}

function firstTime(own: Scan): Pick<Verdict, "at" | "gate"> {
  const at = new Date(own.at).toISOString();
  return own.gate === null ? { at } : { at, gate: own.gate };
}

export function verdictOf(answer: Answer): Judged {
  const { result, reason, tier, attendee_name: name, checked_in_at: at, gate } = answer;
  return {
    result,
    ...(reason !== undefined && { reason }),
    ...(tier !== undefined && { tier }),
    ...(name !== undefined && { name }),
    ...(at !== undefined && { at }),
    ...(gate !== undefined && { gate }),
  };
}

/**
 * The answer to a question came after the phone had judged alone.
 *
 * `moot`: both say the same, the server knows the scan, and what was judged here need not be told.
 * `come_in`: the server has let in whom the phone refused, so in they may come. `tell`: the phone
 * let in whom the server refuses; told of it, the server says what is wrong with that.
 */
export function late(here: Result, there: Result): "moot" | "come_in" | "tell" {
  if ((here === "ADMIT") === (there === "ADMIT")) return "moot";
  return there === "ADMIT" ? "come_in" : "tell";
}
