import { defineConfig, type Plugin, type Rolldown } from "vite";

/** Tells the service worker which files there are, and a name for just these. */
function precached(): Plugin {
  return {
    name: "precached",
    generateBundle: { order: "post", handler: precache }, // behind the page itself
  };
}

async function precache(_: unknown, bundle: Rolldown.OutputBundle): Promise<void> {
  const worker = bundle["sw.js"];
  if (worker?.type !== "chunk") throw new Error("no service worker");
  const files = Object.keys(bundle).filter((name) => name !== "sw.js").sort();
  const text = new Blob(files.flatMap((name) => [name, content(bundle[name]!)]));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await text.arrayBuffer()));
  const version = Array.from(digest.slice(0, 8), (byte) => byte.toString(16)).join("");
  const paths = files.map((name) => (name === "index.html" ? "/door" : `/door/${name}`));
  worker.code = worker.code
    .replace("__FILES__", JSON.stringify([...paths, "/door/manifest.webmanifest"]))
    .replace("__VERSION__", JSON.stringify(version));
}

function content(file: Rolldown.OutputBundle[string]): BlobPart {
  return file.type === "chunk" ? file.code : (file.source as BlobPart);
}

export default defineConfig({
  base: "/door/",
  publicDir: "public",
  build: {
    outDir: "../web/door",
    emptyOutDir: true,
    assetsDir: "",
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      input: { door: "index.html", sw: "src/sw.ts" },
      output: {
        entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "[name]-[hash].js"),
        chunkFileNames: "[name]-[hash].js",
        assetFileNames: "[name]-[hash][extname]",
      },
    },
  },
  plugins: [precached()],
});
