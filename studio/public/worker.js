// The service worker: the studio's own files and the thumbnails that were seen work without the stack.
const SHELL = "shell-1";
const THUMBNAILS = "thumbnails";
const MOST_THUMBNAILS = 1000;

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(SHELL).then((cache) => cache.add("/")));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => {
  const old = (name) => name !== SHELL && name !== THUMBNAILS;
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter(old).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin) return;
  if (request.mode === "navigate" && !/^\/(docs|v1|v2|api|openapi)/.test(url.pathname))
    event.respondWith(page(request));
  else if (url.pathname.startsWith("/studio/assets/")) event.respondWith(hashed(request));
  else if (url.pathname.startsWith("/studio/")) event.respondWith(newest(request, SHELL));
  else if (/^\/v1\/results\/[^/]+\/thumbnail$/.test(url.pathname)) event.respondWith(thumbnail(request, url));
});

/** Every address of the studio has the same document; without the stack, the last one that was seen. */
async function page(request) {
  const cache = await caches.open(SHELL);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put("/", response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match("/");
    if (kept) return kept;
    throw error;
  }
}

/** The name has the hash of the content: what is kept is right for ever. */
async function hashed(request) {
  const cache = await caches.open(SHELL);
  const kept = await cache.match(request);
  if (kept) return kept;
  const response = await fetch(request);
  if (response.ok) await cache.put(request, response.clone());
  return response;
}

async function newest(request, name) {
  const cache = await caches.open(name);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(request);
    if (kept) return kept;
    throw error;
  }
}

/** A picture never changes: its thumbnail is kept under its address without the signature. */
async function thumbnail(request, url) {
  const cache = await caches.open(THUMBNAILS);
  const key = `${url.pathname}?size=${url.searchParams.get("size") ?? ""}`;
  const kept = await cache.match(key);
  if (kept) return kept;
  const response = await fetch(request);
  if (response.ok) {
    await cache.put(key, response.clone());
    const keys = await cache.keys();
    if (keys.length > MOST_THUMBNAILS) await cache.delete(keys[0]);
  }
  return response;
}
