// Prints what a browser loads before anything is shown, compressed, and fails beyond the budget.

import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';

const BYTES_MAX = 60 * 1024;

/** Scripts that a page names, and what they import at once. */
async function initial(page) {
  const html = await readFile(new URL(`../dist/${page}`, import.meta.url), 'utf8');
  const waiting = [...html.matchAll(/(?:src|href)="(\/assets\/[^"]+\.js)"/g)].map(([, path]) => path);
  const sizes = new Map();
  for (const path of waiting) {
    if (sizes.has(path)) continue;
    const script = await readFile(new URL(`../dist${path}`, import.meta.url));
    sizes.set(path, gzipSync(script, { level: 9 }).length);
    for (const [, name] of script.toString().matchAll(/(?:from|import)\s*"\.\/([^"]+\.js)"/g)) waiting.push(`/assets/${name}`);
  }
  return [...sizes.values()].reduce((sum, it) => sum + it, 0);
}

for (const page of ['index.html', 'console.html']) {
  const bytes = await initial(page);
  console.log(`${page}: ${bytes} bytes of scripts gzipped, of at most ${BYTES_MAX}`);
  if (bytes > BYTES_MAX) process.exitCode = 1;
}
