// Headless Chromium, on a page of a folder.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { env } from "node:process";
import { chromium } from "playwright-core";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // For the tests of what must not grow.
  "--enable-precise-memory-info",
  "--js-flags=--expose-gc",
];

async function serve(folder) {
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    try {
      const body = await readFile(join(folder, path === "/" ? "index.html" : path));
      response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "text/html" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/**
 * Opens a page of the folder, and calls `look` with its tab and where it is. Gives what `look` gives, and what the page
 * complained of meanwhile: errors that nobody caught or that it logged.
 */
export async function withPage(folder, page, look) {
  const server = await serve(folder);
  const browser = await chromium.launch({ executablePath: env.TIDELOCK_CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  try {
    const tab = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    const complaints = [];
    tab.on("pageerror", (error) => complaints.push(error.stack ?? String(error)));
    tab.on("console", (message) => {
      if (message.type() === "error" && !message.location().url.endsWith("favicon.ico")) complaints.push(message.text());
    });
    await tab.goto(`http://127.0.0.1:${server.address().port}/${page}`);
    return { seen: await look(tab, complaints), complaints };
  } finally {
    await browser.close();
    server.close();
  }
}

/** What a page promises in `globalThis.outcome`. */
export async function outcomeOf(tab, complaints) {
  await tab.waitForFunction("globalThis.outcome !== undefined", undefined, { timeout: 60_000 }).catch((cause) => {
    throw new Error(`the page found nothing: ${complaints.join("\n")}`, { cause });
  });
  return tab.evaluate("globalThis.outcome");
}
