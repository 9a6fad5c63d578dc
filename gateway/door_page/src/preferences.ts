// How this phone's user likes the page: kept beside what is wiped, for it tells nothing of an event.

import { type Language, languageOf } from "./wording";

export type Theme = "dark" | "light" | "auto";

export class Preferences {
  get language(): Language {
    return languageOf(localStorage.getItem("language") ?? navigator.language);
  }

  set language(language: Language) {
    localStorage.setItem("language", language);
  }

  /** Dark unless asked otherwise: doors open at night. */
  get theme(): Theme {
    const kept = localStorage.getItem("theme");
    return kept === "light" || kept === "auto" ? kept : "dark";
  }

  set theme(theme: Theme) {
    localStorage.setItem("theme", theme);
  }

  get sound(): boolean {
    return localStorage.getItem("sound") !== "off";
  }

  set sound(on: boolean) {
    localStorage.setItem("sound", on ? "on" : "off");
  }
}
