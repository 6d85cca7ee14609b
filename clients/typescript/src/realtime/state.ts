/** How a connection stands, for people to see. */

export type ConnectionState =
  /** Not begun, or closed by whoever uses it. */
  | { name: 'idle' }
  | { name: 'connecting' }
  /** There is a link, and what was missed is being told. */
  | { name: 'catching_up' }
  | { name: 'live' }
  /** There is none. It is tried again then (epoch milliseconds), or, without a time, when there is a network or somebody looks. */
  | { name: 'offline'; retryAt?: number }
  /** It is not tried again: `code` says why, such as `revoked` or `too_many_connections`. */
  | { name: 'ended'; code: string };
