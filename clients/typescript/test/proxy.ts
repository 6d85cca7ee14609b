/** What stands between a client and its server: it cuts, delays, says things twice, and lets no WebSocket through. */

import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

export class Proxy {
  /** How long each piece takes, in milliseconds. */
  delayMs = 0;
  /** Breaks every connection that is begun. */
  isDown = false;
  /** Takes connections, and says nothing on them. */
  isDead = false;
  /** Answers a request for a WebSocket as an old proxy does. */
  refusesSockets = false;
  /** Says every frame of the client twice, but for the first of a connection. */
  isDoubling = false;
  connections = 0;
  readonly #pairs = new Set<[Socket, Socket]>();

  private constructor(
    private readonly server: Server,
    readonly port: number,
  ) {}

  static async to(target: number): Promise<Proxy> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const proxy = new Proxy(server, port);
    server.on('connection', (client) => proxy.#join(client, target));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Breaks every connection there is, without a word. */
  cut(): void {
    for (const [client, server] of this.#pairs) {
      client.resetAndDestroy();
      server.destroy();
    }
  }

  async close(): Promise<void> {
    this.cut();
    this.server.close();
    await once(this.server, 'close');
  }

  #join(client: Socket, target: number): void {
    if (this.isDown) return void client.resetAndDestroy();
    this.connections += 1;
    const server = connect(target, '127.0.0.1');
    const pair: [Socket, Socket] = [client, server];
    this.#pairs.add(pair);
    const end = () => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const side of pair) side.on('error', end).on('close', end).setNoDelay();
    const frames = new Frames();
    client.on('data', (bytes: Buffer) => {
      if (this.refusesSockets && /upgrade: websocket/i.test(bytes.toString('latin1'))) {
        client.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
        return;
      }
      this.#pass(server, frames.read(bytes, () => this.isDoubling));
    });
    server.on('data', (bytes: Buffer) => this.#pass(client, bytes));
  }

  #pass(to: Socket, bytes: Buffer): void {
    if (this.isDead) return;
    // Timers of one length go off in their order.
    if (this.delayMs > 0) setTimeout(() => to.writable && to.write(bytes), this.delayMs);
    else if (to.writable) to.write(bytes);
  }
}

/** Finds the frames in what a client says (RFC 6455, section 5.2), to say them twice. */
class Frames {
  #rest: Buffer = Buffer.alloc(0);
  #isSocket = false;
  #count = 0;

  read(bytes: Buffer, isDoubling: () => boolean): Buffer {
    if (!this.#isSocket) {
      this.#isSocket = /upgrade: websocket/i.test(bytes.toString('latin1'));
      return bytes;
    }
    this.#rest = Buffer.concat([this.#rest, bytes]);
    const out: Buffer[] = [];
    for (let size = sizeOf(this.#rest); size !== undefined; size = sizeOf(this.#rest)) {
      const frame = this.#rest.subarray(0, size);
      this.#rest = this.#rest.subarray(size);
      this.#count += 1;
      const isText = ((frame[0] ?? 0) & 0x0f) === 1;
      out.push(frame);
      if (isText && this.#count > 1 && isDoubling()) out.push(frame);
    }
    return Buffer.concat(out);
  }
}

/** How many bytes the first frame has, if it is there to its end. */
function sizeOf(bytes: Buffer): number | undefined {
  if (bytes.length < 2) return undefined;
  const short = (bytes[1] ?? 0) & 0x7f;
  const mask = 4;
  let [head, body] = [2, short];
  if (short === 126 && bytes.length >= 4) [head, body] = [4, bytes.readUInt16BE(2)];
  else if (short === 127 && bytes.length >= 10) [head, body] = [10, Number(bytes.readBigUInt64BE(2))];
  else if (short > 125) return undefined;
  const size = head + mask + body;
  return bytes.length >= size ? size : undefined;
}
