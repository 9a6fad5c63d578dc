// What a ticket is worth without a network: by the manifest, and by what this phone let in itself.
// Pure. The order of the reasons is the server's own.

import type { Ticket } from "./tickets";
import type { Answer, Doors, Result, Scan, Tier, Verdict } from "./words";

export interface Knowledge {
  ticket: Ticket | undefined;
  own: Scan | undefined; // the last by which this phone let the ticket in or out
  doors: Doors;
  tiers: readonly Tier[];
  gate: string | null;
  leaving: boolean;
  nowMs: number; // by the server's clock, as far as it is known
}

export type Judged = Verdict & { result: Result };

export function judge(known: Knowledge): Judged {
  const { ticket, own, leaving } = known;
  if (ticket === undefined) return { result: "INVALID", reason: "unknown_token" };
  const named = known.tiers[ticket.tier]?.name;
  const tier = named === undefined ? {} : { tier: named };
  const isIn = own === undefined ? ticket.status === "USED" : own.result === "ADMIT";
  const reason = leaving ? whyNoExit(ticket, isIn, known.doors) : whyInvalid(ticket, known);
  if (reason !== null) return { result: "INVALID", reason, ...tier };
  if (leaving) return { result: "EXIT", ...tier };
  if (!isIn) return { result: "ADMIT", ...tier };
  return { result: "ALREADY_ADMITTED", ...tier, ...(own && firstTime(own)) };
}

/** Whoever is in may leave, and whose ticket is good. */
function whyNoExit(ticket: Ticket, isIn: boolean, doors: Doors): string | null {
  if (!doors.reentry) return "no_reentry";
  return isIn ? null : whyWorthless(ticket, doors);
}

function whyWorthless(ticket: Ticket, doors: Doors): string | null {
  if (doors.cancelled) return "event_cancelled";
  if (ticket.status === "CANCELLED") return "refunded";
  return ticket.status === "TRANSFERRED" ? "transferred" : null;
}

function whyInvalid(ticket: Ticket, { doors, gate, nowMs }: Knowledge): string | null {
  const worthless = whyWorthless(ticket, doors);
  if (worthless !== null) return worthless;
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
 * `pass`: the server lets pass whom the phone refused, so pass they may. `tell`: the phone let pass
 * whom the server refuses; told of it, the server says what is wrong with that.
 */
export function late(here: Result, there: Result): "moot" | "pass" | "tell" {
  if (passes(here) === passes(there)) return "moot";
  return passes(there) ? "pass" : "tell";
}

export function passes(result: Verdict["result"]): boolean {
  return result === "ADMIT" || result === "EXIT";
}
