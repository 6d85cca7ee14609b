/** What a request comes to that was not done. */

import type { WireError } from './protocol.js';

/** The server's answer: `code` is stable, and the same as in problems of REST. */
export class RequestError extends Error {
  override readonly name = 'RequestError';

  constructor(
    readonly code: string,
    message: string,
    /** When trying again makes sense, in milliseconds. */
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }

  static of(error: WireError): RequestError {
    return new RequestError(error.code, error.message, error.retry_after_ms);
  }

  /** What a problem says (RFC 9457); of an answer that is none, its status. */
  static async ofAnswer(answer: Response): Promise<RequestError> {
    const said = (await answer.json().catch(() => ({}))) as { code?: string; detail?: string };
    const seconds = Number(answer.headers.get('retry-after') ?? Number.NaN);
    const retryAfterMs = Number.isFinite(seconds) ? seconds * 1_000 : undefined;
    const code = said.code ?? (answer.status >= 500 ? 'internal' : 'malformed');
    return new RequestError(code, said.detail ?? `HTTP ${answer.status}`, retryAfterMs);
  }
}

/** No code of the protocol: the connection broke, or never was. */
export const BROKEN = 1006;

/** The connection went before the answer came: whether it was done is not known. Asking again under the same key is safe. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';

  constructor(
    /** The close code that the server gave. */
    readonly code = BROKEN,
    /** When the server wants to see the client again, in milliseconds. */
    readonly afterMs?: number,
  ) {
    super(`the connection went (${code})`);
  }
}

/** There is no live connection, and the request is one that does not wait for one. */
export class NotConnected extends Error {
  override readonly name = 'NotConnected';
}

/** What passes by itself: the same request may be said again, and is done once. */
const PASSING = new Set([
  'rate_limited',
  'room_busy',
  'store_busy',
  'overloaded',
  'not_ready',
  'timed_out',
  'outcome_unknown',
  'internal',
]);

/** Whether a request that failed with this may be said again as it is. */
export function isPassing(error: unknown): boolean {
  return error instanceof ConnectionLost || (error instanceof RequestError && PASSING.has(error.code));
}
