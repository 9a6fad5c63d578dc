// The sheet that comes up from below: one at a time, closed by its cross, by Escape or beside it.

import { at } from "./page";

export class Sheet {
  private readonly dialog = at<HTMLDialogElement>("sheet");
  private closed: () => void = () => {};

  constructor() {
    at("sheet-close").addEventListener("click", () => this.close());
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.close();
    });
    this.dialog.addEventListener("close", () => this.closed());
  }

  get isOpen(): boolean {
    return this.dialog.open;
  }

  onClose(closed: () => void): void {
    this.closed = closed;
  }

  open(heading: string, ...content: Node[]): void {
    at("sheet-heading").textContent = heading;
    at("sheet-body").replaceChildren(...content);
    if (!this.dialog.open) this.dialog.showModal();
    at("sheet-body").querySelector<HTMLElement>("input, button")?.focus();
  }

  close(): void {
    if (this.dialog.open) this.dialog.close();
  }
}
