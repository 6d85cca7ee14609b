// Writes each file of a build a second and a third time, compressed: the server has nothing to do but to choose.

import { promisify } from 'node:util';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { brotliCompress, constants, gzip } from 'node:zlib';

const TEXT = /\.(css|html|js|json|svg|webmanifest)$/;
/** What is smaller gains nothing. */
const BYTES_MIN = 512;

const brotli = promisify(brotliCompress);
const zip = promisify(gzip);

export function compressed() {
  return {
    name: 'compressed',
    apply: 'build',
    /** @param {{ dir?: string }} output */
    async writeBundle({ dir }) {
      const folder = dir ?? 'dist';
      const entries = await readdir(folder, { recursive: true, withFileTypes: true });
      const files = entries.filter((it) => it.isFile() && TEXT.test(it.name));
      await Promise.all(files.map((it) => compress(join(it.parentPath, it.name))));
    },
  };
}

/** @param {string} file */
async function compress(file) {
  const bytes = await readFile(file);
  if (bytes.length < BYTES_MIN) return;
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
  await writeFile(`${file}.br`, await brotli(bytes, quality));
  await writeFile(`${file}.gz`, await zip(bytes, { level: 9 }));
}
