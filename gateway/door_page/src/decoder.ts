// QR codes in pictures, by ZXing compiled to WebAssembly.

import { prepareZXingModule, readBarcodes } from "zxing-wasm/reader";
import wasm from "zxing-wasm/reader/zxing_reader.wasm?url";

const OPTIONS = {
  formats: ["QRCode" as const],
  maxNumberOfSymbols: 1,
  tryHarder: true, // a crumpled page, a cracked screen
  tryInvert: true,
  tryRotate: false, // a QR code has no upside down
};

export function warmUp(): void {
  const overrides = { locateFile: () => wasm };
  prepareZXingModule({ overrides, fireImmediately: true }).catch(() => {}); // the first picture tries again
}

export async function textIn(picture: ImageData): Promise<string | null> {
  const [found] = await readBarcodes(picture, OPTIONS).catch(() => []);
  return found?.isValid ? found.text : null;
}
