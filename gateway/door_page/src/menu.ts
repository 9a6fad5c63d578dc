// What the sheet holds for everybody: a code typed by hand, how the page shall be, the last scans.

import { button, made } from "./page";
import type { Preferences, Theme } from "./preferences";
import type { Sheet } from "./sheet";
import type { Scan } from "./words";
import type { Language, Phrase, Wording } from "./wording";

const SHOWN_MAX = 50;

export function openTyping(sheet: Sheet, wording: Wording, typed: (text: string) => void): void {
  const field = made("input", { id: "token", autocomplete: "off", spellcheck: false });
  field.enterKeyHint = "go";
  field.required = true;
  const label = made("label", { htmlFor: "token", textContent: wording.say("typed_code") });
  const check = made("button", { className: "main", textContent: wording.say("typed_do") });
  const form = made("form", { autocomplete: "off" }, label, field, check);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sheet.close();
    typed(field.value);
  });
  sheet.open(wording.say("typed_heading"), form);
}

export interface More {
  gates: readonly string[];
  gate: string | null;
  bound: boolean; // to its gate, by its credential
  waiting: number;
  supervisor: boolean;
  chooseGate(gate: string | null): void;
  changed(): void; // preferences
  find(): void;
  conflicts(): void;
  scans(): void;
  remove(): void;
}

export function openMore(
  sheet: Sheet,
  wording: Wording,
  preferences: Preferences,
  more: More,
): void {
  const again = () => {
    more.changed();
    sheet.close();
  };
  const supervisors = [
    plain(wording.say("find"), () => more.find()),
    plain(wording.say("conflicts"), () => more.conflicts()),
  ];
  const parts: Node[] = [
    ...(more.supervisor ? supervisors : []),
    plain(wording.say("scans"), () => more.scans()),
    ...(more.bound || more.gates.length === 0 ? [] : [gates(wording, more)]),
    choice(
      wording.say("sound"),
      (["on", "off"] as const).map((one) => [one, wording.say(one)]),
      preferences.sound ? "on" : "off",
      (chosen: "on" | "off") => {
        preferences.sound = chosen === "on";
      },
    ),
    choice(
      wording.say("theme"),
      (["dark", "light", "auto"] as const).map((one) => [one, wording.say(`theme_${one}`)]),
      preferences.theme,
      (theme: Theme) => {
        preferences.theme = theme;
        again();
      },
    ),
    choice(
      wording.say("language"),
      [["en", "English"], ["de", "Deutsch"]],
      wording.language,
      (language: Language) => {
        preferences.language = language;
        again();
      },
    ),
    removal(wording, more),
  ];
  sheet.open(wording.say("more_heading"), ...parts);
}

function gates(wording: Wording, more: More): Node {
  const pick = made("select", { id: "gate" });
  for (const gate of [null, ...more.gates]) {
    const text = gate ?? wording.say("any_gate");
    pick.append(made("option", { value: gate ?? "", textContent: text, selected: gate === more.gate }));
  }
  pick.addEventListener("change", () => more.chooseGate(pick.value || null));
  const label = made("label", { htmlFor: "gate", textContent: wording.say("gate") });
  return made("div", { className: "choice" }, label, pick);
}

/** Only with a second tap: what waits would be lost. */
function removal(wording: Wording, more: More): Node {
  const press = plain(wording.say("sign_out"), () => {
    if (press.dataset["sure"]) return more.remove();
    press.dataset["sure"] = "yes";
    press.textContent = wording.say(more.waiting > 0 ? "sign_out_waiting" : "sign_out_ask");
    press.classList.add("no");
  });
  return press;
}

function choice<T extends string>(
  heading: string,
  options: readonly (readonly [T, string])[],
  chosen: T,
  choose: (option: T) => void,
): Node {
  const row = made("div", { className: "row" });
  row.setAttribute("role", "group");
  row.setAttribute("aria-label", heading);
  for (const [option, text] of options) {
    const press = button(text, () => {
      for (const other of row.children) other.setAttribute("aria-pressed", "false");
      press.setAttribute("aria-pressed", "true");
      choose(option);
    });
    press.setAttribute("aria-pressed", String(option === chosen));
    row.append(press);
  }
  return made("div", { className: "choice" }, made("p", { className: "label", textContent: heading }), row);
}

/** Times, verdicts and what became of them; of nobody by name. */
export function openScans(sheet: Sheet, wording: Wording, heading: Phrase, scans: readonly Scan[]): void {
  const lines = scans.slice(0, SHOWN_MAX).map((scan) => {
    const kind = { ADMIT: "go", EXIT: "go", ALREADY_ADMITTED: "amber", INVALID: "no" }[scan.result];
    return line(
      made("b", { className: kind, textContent: wording.say(scan.result) }),
      wording.time(scan.at),
      [scan.reason && wording.reason(scan.reason), became(scan, wording)].filter(Boolean).join(" · "),
      scan.gate ?? "",
    );
  });
  const none = made("p", { className: "quiet", textContent: wording.say("scans_none") });
  sheet.open(wording.say(heading), lines.length > 0 ? made("ul", {}, ...lines) : none);
}

function became(scan: Scan, wording: Wording): string {
  if (scan.undone) return wording.say("undone");
  if (scan.waiting) return wording.say("queue");
  const wrong = { conflict: "was_conflict", late_invalid: "was_late_invalid", unknown: "was_unknown" } as const;
  const { outcome, standing } = scan;
  if (outcome === undefined || !(outcome in wrong)) return "";
  const what = wording.say(wrong[outcome as keyof typeof wrong]);
  const why = standing?.reason && outcome !== "unknown" ? wording.reason(standing.reason) : "";
  const when = standing?.at ? wording.time(standing.at) : "";
  return [what, why, when, standing?.gate].filter(Boolean).join(", ");
}

export function line(...parts: (Node | string)[]): HTMLLIElement {
  const cells = parts.map((part) => made("span", {}, part));
  return made("li", {}, ...cells);
}

export function plain(text: string, pressed: () => void): HTMLButtonElement {
  return button(text, pressed, "plain");
}
