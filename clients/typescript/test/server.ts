/** A real server of its own for a test, on a free port, with an empty folder; killed as hard as a test wants. */

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const BINARY = resolve(process.env['MADANG_BINARY'] ?? '../../target/debug/madang');
const START_MAX_MS = 30_000;

export class Server {
  #process: ChildProcess | undefined;

  private constructor(
    readonly port: number,
    private readonly folder: string,
    private readonly settings: Record<string, string>,
  ) {}

  static async start(settings: Record<string, string> = {}): Promise<Server> {
    const folder = await mkdtemp(join(tmpdir(), 'madang-client-'));
    const server = new Server(await freePort(), folder, settings);
    await server.again();
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it with what it had. */
  async again(): Promise<void> {
    await this.#serve([]);
  }

  /** Has another process take over, as a deploy does, and waits until the one before has gone. */
  async deploy(): Promise<void> {
    const before = this.#process;
    const gone = before && once(before, 'exit');
    await this.#serve(['--take-over']);
    await gone;
  }

  /** Another command of the program, with the same data. */
  async command(words: string[], variables: Record<string, string> = {}): Promise<void> {
    const child = spawn(BINARY, words, { cwd: this.folder, env: { ...this.#env, ...variables }, stdio: 'ignore' });
    const [code] = (await once(child, 'exit')) as [number | null];
    if (code !== 0) throw new Error(`${BINARY} ${words.join(' ')} ends with ${code}`);
  }

  get #env(): Record<string, string | undefined> {
    return {
      PATH: process.env['PATH'],
      MADANG__HTTP__LISTEN: `127.0.0.1:${this.port}`,
      MADANG__DATA__DIR: join(this.folder, 'data'),
      MADANG__LIMITS__ENABLED: 'false',
      MADANG__CHAT__DIRECT_REQUIRES_FRIENDSHIP: 'no',
      ...this.settings,
    };
  }

  async #serve(how: string[]): Promise<void> {
    const child = spawn(BINARY, ['serve', ...how], { cwd: this.folder, env: this.#env, stdio: 'ignore' });
    this.#process = child;
    const until = Date.now() + START_MAX_MS;
    for (;;) {
      const isReady = await fetch(`${this.url}/readyz`).then((it) => it.ok, () => false);
      if (isReady) return;
      if (child.exitCode !== null || Date.now() > until) throw new Error(`${BINARY} does not serve`);
      await new Promise((tick) => setTimeout(tick, 20));
    }
  }

  /** `kill -9`. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async remove(): Promise<void> {
    await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');
  return port;
}
