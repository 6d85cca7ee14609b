/** How each op is said over HTTP, where no socket carries it. */

import { RequestError } from './errors.js';
import type { Ops } from './protocol.js';

type Call = [method: string, path: string, body?: unknown];

/** Where a room is, of which this is the channel. */
export const room = (channel: string) => `/v1/chat/rooms/${channel.slice('room:'.length)}`;
const message = (of: { channel: string; seq: number }) => `${room(of.channel)}/messages/${of.seq}`;
const reaction = (of: { channel: string; seq: number; emoji: string }) =>
  `${message(of)}/reactions/${encodeURIComponent(of.emoji)}`;

/** What may be lost is not said. */
export const CALLS: { [Op in keyof Ops]: (fields: Ops[Op][0]) => Call | undefined } = {
  send: ({ channel, key, data }) => ['POST', `${room(channel)}/messages`, { key, ...data }],
  edit: (fields) => ['PATCH', message(fields), fields.data],
  delete: (fields) => ['DELETE', message(fields)],
  react: (fields) => ['PUT', reaction(fields)],
  unreact: (fields) => ['DELETE', reaction(fields)],
  typing: () => undefined,
  read: ({ channel, seq }) => [
    'POST',
    '/v1/messages/read',
    { room_id: channel.slice('room:'.length), seq },
  ],
  history: ({ channel, ...query }) => {
    const given = Object.entries(query).map(([name, value]) => [name, String(value)]);
    return ['GET', `${room(channel)}/messages?${new URLSearchParams(given)}`];
  },
  set_presence: ({ status }) => {
    // As a stream shows its user. It must not be thought that somebody is hidden who is not.
    if (status === 'online') return undefined;
    throw new RequestError('presence_needs_socket', `an event stream cannot show anybody as ${status}`);
  },
  get_presence: ({ users }) => ['GET', `/v1/online-status?user_ids=${users.join(',')}`],
};
