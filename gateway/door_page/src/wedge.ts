// Hardware scanners that act as a keyboard: quick keys, closed by Enter.

const BETWEEN_KEYS_MS = 150; // nobody types as fast for long
const LENGTH_MIN = 6;

export class Wedge {
  private typed = "";
  private lastMs = 0;

  /** The text of a scan, once Enter closes it. */
  key(key: string, nowMs: number): string | null {
    if (nowMs - this.lastMs > BETWEEN_KEYS_MS) this.typed = "";
    this.lastMs = nowMs;
    if (key === "Enter") {
      const text = this.typed;
      this.typed = "";
      return text.length >= LENGTH_MIN ? text : null;
    }
    if (key.length === 1) this.typed += key;
    return null;
  }
}

export function listenForScanner(heard: (text: string) => void): void {
  const wedge = new Wedge();
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey) return;
    const text = wedge.key(event.key, event.timeStamp);
    if (text === null) return;
    event.preventDefault(); // else Enter would press whatever button has the focus
    heard(text);
  });
}
