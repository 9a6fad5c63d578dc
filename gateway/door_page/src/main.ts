// The page comes to life: one window at a time, a phone that is set up or one that is to be.

import { Camera, type CameraState } from "./camera";
import { enrolmentIn } from "./codes";
import { warmUp } from "./decoder";
import { Door, type House } from "./door";
import { NotEnrolled, codeInAddress, enrol } from "./enrolment";
import { at, translate } from "./page";
import { Preferences } from "./preferences";
import { Sheet } from "./sheet";
import { Signals } from "./signals";
import { nameDevice, notice, turnTo } from "./stage";
import { Store } from "./store";
import { Wording } from "./wording";
import { listenForScanner } from "./wedge";

const preferences = new Preferences();
const signals = new Signals();
const sheet = new Sheet();
const light = matchMedia("(prefers-color-scheme: light)");
let wording = new Wording(preferences.language);
let store: Store;
let door: Door | null = null;
let settingUp = false;
let enrolmentKey = crypto.randomUUID();

const camera = new Camera(at("video"), {
  seen(text, tookMs) {
    if (sheet.isOpen) return;
    if (door) door.scanned(text, tookMs);
    else void setUp(text);
  },
  became: showCamera,
});

function restyle(): void {
  const { theme } = preferences;
  const bright = theme === "light" || (theme === "auto" && light.matches);
  document.documentElement.dataset["theme"] = bright ? "light" : "dark";
  wording = new Wording(preferences.language);
  translate(wording);
  if (door) door.show();
  else nameDevice(null, null, wording);
}

function showCamera(state: CameraState): void {
  at("wake").hidden = state === "on";
  const phrase = { on: "camera_start", off: "camera_start", none: "camera_none", denied: "camera_denied" } as const;
  const scanning = door !== null || state === "none" || state === "denied";
  at("wake-text").textContent = wording.say(scanning ? phrase[state] : "enrol_scan");
  at("torch").hidden = !camera.hasTorch;
  at("torch").setAttribute("aria-pressed", "false");
  void keepAwake(state === "on");
}

let lock: WakeLockSentinel | null = null;

/** The screen, while the camera looks. */
async function keepAwake(on: boolean): Promise<void> {
  await lock?.release().catch(() => {});
  lock = on ? ((await navigator.wakeLock?.request("screen").catch(() => null)) ?? null) : null;
}

async function setUp(text: string): Promise<void> {
  if (enrolmentIn(text) === null) return tellEnrolment("enrol_unknown");
  if (settingUp) return;
  settingUp = true;
  try {
    const device = await enrol(text, enrolmentKey);
    camera.stop();
    await store.enrol(device);
    enrolmentKey = crypto.randomUUID();
    at<HTMLInputElement>("code").value = "";
    await work();
  } catch (error) {
    tellEnrolment(error instanceof NotEnrolled ? error.phrase : "enrol_refused");
  } finally {
    settingUp = false;
  }
}

function tellEnrolment(phrase: NotEnrolled["phrase"] | null): void {
  at("enrol-error").textContent = phrase === null ? "" : wording.say(phrase);
}

async function work(): Promise<void> {
  const device = await store.device();
  if (device === undefined) return invite();
  codeInAddress(); // a phone that is set up needs none, and shows none
  const house: House = {
    store,
    sheet,
    signals,
    preferences,
    wording: () => wording,
    restyle,
    ended,
  };
  notice(null);
  tellEnrolment(null);
  door = await Door.open(house, device);
  turnTo("scan");
  door.start();
  await camera.start();
}

/** The phone has been wiped. */
async function ended(revoked: boolean): Promise<void> {
  door = null;
  camera.stop();
  store = await Store.open();
  askForCode();
  if (revoked) notice(wording.say("revoked"));
}

/** By the code in the address, which is taken out of it in any case. */
function invite(): void {
  const code = codeInAddress();
  if (door) return;
  askForCode();
  if (code === null) return;
  at<HTMLInputElement>("code").value = code.replace(/(.{4})(?=.)/g, "$1-");
  at("enrol-form").querySelector("button")?.focus();
}

function askForCode(): void {
  turnTo("enrol");
  nameDevice(null, null, wording);
  at("alarm").hidden = true;
  showCamera("off");
}

function listen(): void {
  at("wake").addEventListener("click", () => void camera.start());
  at("torch").addEventListener("click", () => {
    const on = at("torch").getAttribute("aria-pressed") !== "true";
    at("torch").setAttribute("aria-pressed", String(on));
    void camera.torch(on);
  });
  at("enrol-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void setUp(at<HTMLInputElement>("code").value);
  });
  document.addEventListener("pointerdown", () => {
    signals.unlock();
    camera.stir();
  });
  listenForScanner((text) => {
    camera.stir();
    sheet.close();
    if (door) door.scanned(text, performance.now());
    else void setUp(text);
  });
  window.addEventListener("hashchange", invite); // scanned while the page is open
  light.addEventListener("change", restyle);
}

async function begin(): Promise<void> {
  restyle();
  if (!window.isSecureContext) return notice(wording.say("insecure"));
  listen();
  warmUp();
  // Without it the page works on, but can't be opened without a network.
  navigator.serviceWorker?.register("/door/sw.js", { scope: "/door" }).catch(() => {});
  void navigator.storage?.persist?.();
  notice(wording.say("elsewhere"));
  // Two windows would keep two minds of who is in: the second waits until the first is closed.
  await navigator.locks.request("door", async () => {
    notice(null);
    store = await Store.open();
    await work();
    await new Promise(() => {});
  });
}

void begin();
