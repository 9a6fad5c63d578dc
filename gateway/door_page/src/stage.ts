// The screen that a phone works on: which event and gate, how the line is, the counts.

import { at } from "./page";
import type { Device } from "./words";
import type { Phrase, Wording } from "./wording";

const LINE_UP = "M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2z";
const LINE_DOWN = "M8 1.5 15 14.5H1z";

/** `inside`: by all doors, null while unknown. `living`: tickets that are good. */
export interface State {
  online: boolean;
  waiting: number;
  inside: number | null;
  reentry: boolean;
  leaving: boolean;
  living: number;
  here: number;
  alarms: number;
  notice: Phrase | null;
}

export type View = "loading" | "enrol" | "scan" | "closed";

export function turnTo(view: View): void {
  document.body.dataset["view"] = view;
  for (const id of ["enrol", "enrol-form"]) at(id).hidden = view !== "enrol";
  for (const id of ["counts", "tools", "line"]) at(id).hidden = view !== "scan";
}

export function nameDevice(device: Device | null, gate: string | null, wording: Wording): void {
  at("event").textContent = device?.title || wording.say("title");
  const where = device && [gate ?? wording.say("any_gate"), device.name].join(" · ");
  at("where").textContent = where ?? "";
}

export function showState(state: State, wording: Wording): void {
  const line = at("line");
  line.classList.toggle("down", !state.online);
  at("line-shape").setAttribute("d", state.online ? LINE_UP : LINE_DOWN);
  at("line-text").textContent = wording.say(state.online ? "online" : "offline");
  const { inside, living } = state;
  const all = living > 0 ? ` / ${wording.count(living)}` : "";
  at("count-inside").replaceChildren(inside === null ? "–" : wording.count(inside), small(all));
  at("count-here").textContent = wording.count(state.here);
  at("count-waiting").textContent = wording.count(state.waiting);
  at("count-waiting").parentElement!.classList.toggle("some", state.waiting > 0);
  const out = at("out");
  out.hidden = !(state.reentry || state.leaving); // a phone at the way out must find back, too
  out.setAttribute("aria-pressed", String(state.leaving));
  document.body.classList.toggle("leaving", state.leaving);
  const alarm = at("alarm");
  alarm.hidden = state.alarms === 0;
  const many = state.alarms === 1 ? "alarm_one" : "alarm_some";
  alarm.textContent = wording.say(many, { n: wording.count(state.alarms) });
  notice(state.notice && wording.say(state.notice));
}

export function notice(text: string | null): void {
  const line = at("notice");
  line.hidden = text === null;
  if (line.textContent !== (text ?? "")) line.textContent = text ?? "";
}

function small(text: string): HTMLElement {
  const element = document.createElement("small");
  element.textContent = text;
  return element;
}
