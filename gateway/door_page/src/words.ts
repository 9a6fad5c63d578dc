// The vocabulary of the doors: what the server says and what this page keeps. Data only.

export type Result = "ADMIT" | "ALREADY_ADMITTED" | "INVALID" | "EXIT";
export type Outcome = "recorded" | "duplicate" | "conflict" | "unknown" | "late_invalid";
export type TicketStatus = "VALID" | "USED" | "CANCELLED" | "TRANSFERRED" | "OUT";
export type Profile = "scan" | "supervisor";

/** This phone at one event. `gate`: bound to it. `publicKey`: the event's, raw Ed25519, base64url. */
export interface Device {
  deviceId: string;
  token: string;
  publicKey: string;
  eventId: string;
  title: string;
  name: string;
  gate: string | null;
  profile: Profile;
}

export interface Doors {
  opens_at: string;
  cancelled: boolean;
  reentry: boolean;
  gates: { name: string; tiers: number[] }[];
}

export interface Tier {
  tier_id: string;
  name: string;
}

/** `tickets`: [SHA-256 of the token in hex, index of its tier, status]. */
export interface Manifest {
  event_id: string;
  version: number;
  cursor: string;
  full: boolean;
  doors: Doors;
  tiers: Tier[];
  tickets: [string, number, TicketStatus][];
  signature: string;
}

/** A manifest's all but its tickets. `askedAt`: what happened before then is in it. */
export interface ManifestHead {
  cursor: string;
  etag: string | null;
  doors: Doors;
  tiers: Tier[];
  askedAt: number;
}

/** What the server says to a scan. */
export interface Answer {
  result: Result;
  reason?: string;
  ticket_id?: string;
  tier?: string;
  attendee_name?: string;
  checked_in_at?: string;
  gate?: string;
  undone_at?: string;
}

/** What the server says to a scan that it is told of. */
export interface Told {
  nonce: string;
  outcome: Outcome;
  reason?: string;
  checked_in_at?: string;
  gate?: string;
}

/**
 * A scan as it is kept: of the token its hash alone, and nobody's name. Times are of this phone's
 * clock. `waiting`: judged here and not told yet. `toldAt`: since when the server has known.
 * `asked`: the nonce of a question about the same ticket whose answer never came.
 */
export interface Scan {
  nonce: string;
  hash: string;
  at: number;
  gate: string | null;
  result: Result;
  reason?: string;
  waiting?: 1;
  toldAt?: number;
  asked?: string;
  outcome?: Outcome;
  standing?: { at?: string; gate?: string; reason?: string };
  undone?: boolean;
  seen?: boolean;
}

/** What the screen shows of a scan. `UNDECIDED`: no network, and no manifest to judge by. */
export interface Verdict {
  result: Result | "UNDECIDED";
  reason?: string;
  tier?: string;
  name?: string;
  at?: string;
  gate?: string;
}
