// Whether a manifest is the event's own: Ed25519 over its canonical form.

import { canonical } from "./canonical";
import type { Manifest } from "./words";

/** This browser has no Ed25519, so nothing can be believed without a network. */
export class NoEd25519 extends Error {}

export async function isGenuine(manifest: Manifest, publicKey: string): Promise<boolean> {
  const { signature, ...rest } = manifest;
  const key = await imported(fromBase64url(publicKey));
  const message = new TextEncoder().encode(canonical(rest));
  return crypto.subtle.verify("Ed25519", key, fromBase64url(signature), message);
}

async function imported(raw: Uint8Array<ArrayBuffer>): Promise<CryptoKey> {
  try {
    return await crypto.subtle.importKey("raw", raw, "Ed25519", false, ["verify"]);
  } catch {
    throw new NoEd25519();
  }
}

export function fromBase64url(text: string): Uint8Array<ArrayBuffer> {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (sign) => sign.charCodeAt(0));
}

export async function hashOf(token: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
