import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { expect, test } from 'vitest';

import { Server } from './server.js';

test('the types of the REST API are those of this server', async () => {
  const server = await Server.start();
  try {
    const script = 'scripts/generate.js';
    const { stdout } = await promisify(execFile)('node', [script, server.url, '--check']);
    expect(stdout).toContain('current');
  } finally {
    await server.remove();
  }
});
