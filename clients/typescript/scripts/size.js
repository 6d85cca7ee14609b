// Prints what the realtime layer weighs, minified and compressed, and fails beyond its budget.

import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';

const BYTES_MAX = 12 * 1024;

const { outputFiles } = await build({
  entryPoints: ['src/realtime/index.ts'],
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  write: false,
});
const bytes = gzipSync(outputFiles[0].contents, { level: 9 }).length;
console.log(`realtime: ${bytes} bytes gzipped, of at most ${BYTES_MAX}`);
process.exitCode = bytes <= BYTES_MAX ? 0 : 1;
