/** Two pages from one tree: the app at `/` and the console at `/console`, each with what it needs first and no more. */

import { fileURLToPath } from 'node:url';

import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

import { compressed } from './scripts/compressed.js';

const page = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Where `npm run dev` finds the server. */
const SERVER = process.env['MADANG_URL'] ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [svelte(), compressed()],
  build: {
    target: 'es2022',
    // Nothing is inlined: the pages' policy lets in what is a file of theirs, and nothing else.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: { input: { index: page('index.html'), console: page('console.html') } },
  },
  worker: { format: 'es' },
  server: { proxy: { '/v1': { target: SERVER, ws: true } } },
});
