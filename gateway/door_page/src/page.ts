// The page's own elements by name, and small ways to make more of them.

import type { Phrase, Wording } from "./wording";

export function at<T extends Element = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`no element ${id}`);
  return found as Element as T;
}

/** Write every text that stands in the page itself. */
export function translate(wording: Wording): void {
  document.documentElement.lang = wording.language;
  document.title = wording.say("title");
  for (const element of document.querySelectorAll<HTMLElement>("[data-say]")) {
    element.textContent = wording.say(element.dataset["say"] as Phrase);
  }
}

export function made<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function button(text: string, pressed: () => void, className = ""): HTMLButtonElement {
  const element = made("button", { type: "button", textContent: text, className });
  element.addEventListener("click", pressed);
  return element;
}
