// How a phone comes to its event: by a code that is good once.

import { Api, Refused } from "./api";
import { enrolmentIn } from "./codes";
import type { Device, Profile } from "./words";
import type { Phrase } from "./wording";

interface Enrolled {
  device_id: string;
  token: string;
  event_public_key: string;
  event_id: string;
  name: string;
  gate: string | null;
  profile: Profile;
}

/** Why a code did not do, as the page says it. */
export class NotEnrolled extends Error {
  constructor(readonly phrase: Phrase) {
    super(phrase);
  }
}

/** `key`: the same for each attempt with a code, so that a lost answer can be had again. */
export async function enrol(text: string, key: string): Promise<Device> {
  const code = enrolmentIn(text);
  if (code === null) throw new NotEnrolled("enrol_unknown");
  const anybody = new Api(null);
  const headers = { "Idempotency-Key": key };
  const made = await anybody
    .json<Enrolled>("POST", "/v1/devices/enrol", { body: { code }, headers })
    .catch((error: unknown) => {
      throw new NotEnrolled(phraseOf(error));
    });
  const event = await anybody
    .json<{ title: string }>("GET", `/v1/events/${made.event_id}`)
    .catch(() => ({ title: "" }));
  return {
    deviceId: made.device_id,
    token: made.token,
    publicKey: made.event_public_key,
    eventId: made.event_id,
    title: event.title,
    name: made.name,
    gate: made.gate,
    profile: made.profile,
  };
}

function phraseOf(error: unknown): Phrase {
  if (!(error instanceof Refused)) return "enrol_silent";
  if (error.code === "unknown_code") return "enrol_unknown";
  return error.code === "code_used" ? "enrol_used" : "enrol_refused";
}

/** The code behind # in this page's address, which it is taken out of. */
export function codeInAddress(): string | null {
  const text = location.hash.slice(1);
  if (text) history.replaceState(null, "", location.pathname);
  return enrolmentIn(text);
}
