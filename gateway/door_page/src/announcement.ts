// The verdict, over the whole screen: told by colour, shape, word, sound and touch alike.

import type { Judgement } from "./doorkeeper";
import { passes } from "./judging";
import { at, made } from "./page";
import type { Signals } from "./signals";
import type { Verdict } from "./words";
import type { Wording } from "./wording";

const PASS_SHOWN_MS = 2_500; // the others stay until somebody has looked
const SHAPE: Record<Verdict["result"], string> = {
  ADMIT: "M60 6a54 54 0 1 1 0 108 54 54 0 0 1 0-108zM34 62l18 18 35-39",
  ALREADY_ADMITTED: "M60 10 114 106H6zM60 44v28M60 88v2",
  EXIT: "M70 14H18v92h52M50 60h56M84 36l24 24-24 24",
  INVALID: "M38 6h44l32 32v44l-32 32H38L6 82V38zM40 40l40 40M80 40 40 80",
  UNDECIDED: "M10 10h100v100H10zM44 46a16 16 0 1 1 22 15c-4 2-6 5-6 10M60 86v2",
};

export class Announcement {
  private timer: number | undefined;
  private shown: Judgement | null = null;

  constructor(
    private readonly signals: Signals,
    private readonly wording: () => Wording,
    private readonly loud: () => boolean,
  ) {
    at("next").addEventListener("click", () => this.dismiss());
  }

  get current(): Judgement | null {
    return this.shown;
  }

  /** `supervisor`: may take back, and let in anyway. `tookMs`: of the frame it was seen in. */
  show(judgement: Judgement, supervisor: boolean, tookMs: number): void {
    const { verdict, offline, scan } = judgement;
    const screen = at("verdict");
    this.shown = judgement;
    window.clearTimeout(this.timer);
    screen.dataset["result"] = verdict.result;
    at("verdict-shape").setAttribute("d", SHAPE[verdict.result]);
    this.write(verdict, offline);
    const known = verdict.result !== "UNDECIDED" && verdict.reason !== "unknown_token";
    const refused = verdict.result === "INVALID" && known;
    at("undo").hidden = !(supervisor && verdict.result === "ADMIT" && scan !== null);
    at("override").hidden = !(supervisor && refused && verdict.reason !== "wrong_event");
    screen.hidden = false;
    this.cover(true);
    at("next").focus({ preventScroll: true });
    this.signals.give(verdict.result, this.loud());
    requestAnimationFrame(() => {
      screen.dataset["ms"] = (performance.now() - tookMs).toFixed(1);
    });
    if (passes(verdict.result)) {
      this.timer = window.setTimeout(() => this.dismiss(), PASS_SHOWN_MS);
    }
  }

  dismiss(): void {
    window.clearTimeout(this.timer);
    this.shown = null;
    at("verdict").hidden = true;
    this.cover(false);
  }

  /** What lies below is out of reach for keys and readers as well. */
  private cover(over: boolean): void {
    for (const id of ["top", "main", "tools", "alarm"]) at(id).inert = over;
  }

  private write(verdict: Verdict, offline: boolean): void {
    const wording = this.wording();
    const lines = {
      "verdict-where": offline ? wording.say("judged_here") : "",
      "verdict-word": wording.say(verdict.result),
      "verdict-why": why(verdict, wording),
      "verdict-name": verdict.name ?? "",
      "verdict-tier": verdict.tier ?? "",
    };
    for (const [id, text] of Object.entries(lines)) at(id).textContent = text;
    const { "verdict-where": where, ...rest } = lines;
    const spoken = [...Object.values(rest), where].filter(Boolean).join(". ");
    at("spoken").replaceChildren(made("span", {}, spoken)); // the same words twice are said twice
  }
}

function why({ result, reason, at: since, gate }: Verdict, wording: Wording): string {
  if (result === "UNDECIDED") return wording.say(reason === "unkept" ? "unkept" : "no_list");
  if (reason !== undefined) return wording.reason(reason);
  if (result !== "ALREADY_ADMITTED" || since === undefined) return "";
  const time = wording.time(since);
  return gate ? wording.say("since_gate", { time, gate }) : wording.say("since", { time });
}
