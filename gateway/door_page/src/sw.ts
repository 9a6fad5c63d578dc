// The service worker: this page and its files, from the phone, so that it opens without a network.
// It keeps its hands off everything else: what the server says is never cached.

declare const __FILES__: string[]; // put in when built
declare const __VERSION__: string;

const worker = self as unknown as ServiceWorkerGlobalScope;
const CACHE = `door-${__VERSION__}`;
const FILES = new Set(__FILES__);

worker.addEventListener("install", (event) => {
  void worker.skipWaiting();
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll([...FILES])));
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(forgetOthers().then(() => worker.clients.claim()));
});

worker.addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== worker.location.origin) return;
  if (FILES.has(pathname)) event.respondWith(kept(event.request, pathname));
});

async function forgetOthers(): Promise<void> {
  for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
}

/** From the cache, which a wiped phone fills again by and by. */
async function kept(request: Request, pathname: string): Promise<Response> {
  const cache = await caches.open(CACHE);
  const found = await cache.match(pathname);
  if (found) return found;
  const response = await fetch(request);
  if (response.ok) await cache.put(pathname, response.clone());
  return response;
}
