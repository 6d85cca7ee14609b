import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { expect, test } from 'vitest';

import { Fixture } from './fixture.js';

const fixture = new Fixture();

/** What the script says of the types, given a server's address. */
async function check(...args: string[]): Promise<string> {
  const run = promisify(execFile)('node', ['scripts/generate.js', ...args, '--check']);
  const { stdout } = await run.catch((failed: { stdout: string }) => failed);
  return stdout.trim();
}

/** A server that has only this to say. */
async function saying(text: string) {
  const server = createServer((_, answer) => answer.end(text)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() };
}

const UNORDERED = ['required', 'enum', 'parameters'];

/** The same with every object the other way round, and every list whose order says nothing. */
function turned(value: unknown, name = ''): unknown {
  if (Array.isArray(value)) {
    const items = value.map((item) => turned(item));
    return UNORDERED.includes(name) ? items.reverse() : items;
  }
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value).map(([key, item]) => [key, turned(item, key)] as const);
  return Object.fromEntries(entries.reverse());
}

test('the types of the REST API are those of this server', async () => {
  expect(await check(fixture.server.url)).toBe('the types are current');
}, 120_000);

test('neither the order in which a server lists things nor how lines end makes the types old, and another field does', async () => {
  const description = (await (await fetch(`${fixture.server.url}/openapi.json`)).json()) as { components: { schemas: object } };
  const folder = await mkdtemp(join(tmpdir(), 'madang-types-'));
  const file = join(folder, 'schema.ts');
  const kept = await readFile('src/rest/schema.ts', 'utf8');
  await writeFile(file, kept.replaceAll('\n', '\r\n'));
  const other = await saying(JSON.stringify(turned(description)));
  description.components.schemas = { ...description.components.schemas, Another: { type: 'string' } };
  const newer = await saying(JSON.stringify(description));
  try {
    expect(await check(other.url, `--file=${file}`)).toBe('the types are current');
    expect(await check(newer.url, `--file=${file}`)).toBe('the types are old: npm run generate');
  } finally {
    other.close();
    newer.close();
    await rm(folder, { recursive: true });
  }
}, 240_000);
