// The camera: looked at a few times a second, less often when nobody is there, not at all when
// the page is hidden or nobody has come for minutes.

import { textIn } from "./decoder";
import { Sighting } from "./sighting";
import { frameMs } from "./vigilance";

const PICTURE_MAX = 640; // pixels of the square that is decoded
const WANTED: MediaTrackConstraints = {
  facingMode: "environment",
  width: { ideal: 1280 },
  height: { ideal: 720 },
  frameRate: { ideal: 15, max: 30 },
};

export type CameraState = "on" | "off" | "none" | "denied";

/** `seen`: a code has come into view, in the frame that was taken at `tookMs`. */
export interface Watcher {
  seen(text: string, tookMs: number): void;
  became(state: CameraState): void;
}

export class Camera {
  private readonly canvas = document.createElement("canvas");
  private readonly sighting = new Sighting();
  private stream: MediaStream | null = null;
  private starting = false;
  private wanted = false;
  private busyMs = 0; // when somebody was last here
  private timer: number | undefined;

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly watcher: Watcher,
  ) {
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.putOut();
      else if (this.wanted) void this.light();
    });
  }

  async start(): Promise<void> {
    this.wanted = true;
    this.busyMs = performance.now();
    await this.light();
  }

  stop(): void {
    this.wanted = false;
    this.putOut();
  }

  /** Somebody is here, by another sign than a code in view. */
  stir(): void {
    this.busyMs = performance.now();
  }

  get hasTorch(): boolean {
    const track = this.stream?.getVideoTracks()[0];
    const able = track?.getCapabilities?.() as { torch?: boolean } | undefined;
    return able?.torch === true;
  }

  async torch(on: boolean): Promise<void> {
    const wanted = { advanced: [{ torch: on } as MediaTrackConstraintSet] };
    await this.stream?.getVideoTracks()[0]?.applyConstraints(wanted);
  }

  private async light(): Promise<void> {
    if (this.stream || this.starting || document.hidden) return;
    this.starting = true;
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: WANTED, audio: false });
    } catch (error) {
      const denied = error instanceof DOMException && error.name === "NotAllowedError";
      this.watcher.became(denied ? "denied" : "none");
      return;
    } finally {
      this.starting = false;
    }
    if (!this.wanted) return this.putOut();
    this.video.srcObject = this.stream;
    await this.video.play().catch(() => {}); // put out meanwhile
    this.sighting.forget();
    this.watcher.became("on");
    this.look();
  }

  private putOut(): void {
    window.clearTimeout(this.timer);
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    if (this.stream) this.watcher.became("off");
    this.stream = null;
    this.video.srcObject = null;
  }

  private async look(): Promise<void> {
    const tookMs = performance.now();
    const picture = this.stream && this.picture();
    const text = picture ? await textIn(picture) : null;
    if (!this.stream) return;
    if (text !== null) {
      this.busyMs = tookMs;
      if (this.sighting.isNew(text, tookMs)) this.watcher.seen(text, tookMs);
    }
    const pause = frameMs(tookMs - this.busyMs);
    if (pause === null) return this.stop();
    this.timer = window.setTimeout(() => void this.look(), pause);
  }

  /** The middle of the frame, made smaller; null while there is none. */
  private picture(): ImageData | null {
    const { videoWidth: width, videoHeight: height } = this.video;
    const side = Math.min(width, height);
    if (side === 0) return null;
    const size = Math.min(side, PICTURE_MAX);
    this.canvas.width = this.canvas.height = size;
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    const [left, top] = [(width - side) / 2, (height - side) / 2];
    context?.drawImage(this.video, left, top, side, side, 0, 0, size, size);
    return context?.getImageData(0, 0, size, size) ?? null;
  }
}
