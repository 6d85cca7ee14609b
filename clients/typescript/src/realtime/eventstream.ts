/**
 * One event stream (server-sent events, in the HTML standard), read from the answer to a request: an `EventSource` sets no
 * header, and a token never travels in an address.
 *
 * Invariant: it ends once, and tells nothing after it was closed.
 */

import { ConnectionLost } from './errors.js';
import type { Frame } from './protocol.js';

/** The server says something every 15 s. */
const SILENCE_MAX_MS = 40_000;

export interface StreamHeard {
  onFrame(frame: Frame): void;
  /** The word that the next stream goes on from. */
  onCursor(cursor: string): void;
  onEnd(why: ConnectionLost): void;
}

export class EventStream {
  #bye: ConnectionLost | undefined;
  #isClosed = false;
  #silence: ReturnType<typeof setTimeout> | undefined;

  /** `abort` ends the request that `body` is the answer to. */
  constructor(
    private readonly body: ReadableStream<Uint8Array>,
    private readonly abort: AbortController,
    private readonly heard: StreamHeard,
  ) {}

  /** Tells what comes, from the next turn on: nobody hears of a link that they do not have yet. */
  async listen(): Promise<void> {
    this.#hearSomething();
    await new Promise((turn) => setTimeout(turn));
    try {
      let rest = '';
      const reader = this.body.getReader();
      const decoder = new TextDecoder();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        this.#hearSomething();
        const blocks = (rest + decoder.decode(value, { stream: true })).split('\n\n');
        rest = blocks.pop() ?? '';
        for (const block of blocks) this.#read(block);
      }
    } catch {
      // It broke: the same as its end.
    }
    this.#end(this.#bye ?? new ConnectionLost());
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#silence);
    this.abort.abort();
  }

  #read(block: string): void {
    const fields = new Map(block.split('\n').map((line) => splitOnce(line)));
    const data = fields.get('data');
    if (data === undefined || this.#isClosed) return;
    const frame = JSON.parse(data) as Frame;
    if (frame.event === 'bye') this.#bye = new ConnectionLost(frame.code, frame.after_ms);
    else this.heard.onFrame(frame);
    const cursor = fields.get('id');
    if (cursor) this.heard.onCursor(cursor);
  }

  #hearSomething(): void {
    clearTimeout(this.#silence);
    if (!this.#isClosed) this.#silence = setTimeout(() => this.#end(new ConnectionLost()), SILENCE_MAX_MS);
  }

  #end(why: ConnectionLost): void {
    if (this.#isClosed) return;
    this.close();
    this.heard.onEnd(why);
  }
}

function splitOnce(line: string): [string, string] {
  const colon = line.indexOf(':');
  if (colon < 0) return [line, ''];
  const value = line.slice(colon + 1);
  return [line.slice(0, colon), value.startsWith(' ') ? value.slice(1) : value];
}
