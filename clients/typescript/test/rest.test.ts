import { afterAll, beforeAll, expect, test } from 'vitest';

import { createRest, RequestError, type Credentials } from '../src/index.js';
import { Person } from './people.js';
import { Server } from './server.js';

let server: Server;

beforeAll(async () => {
  server = await Server.start();
});
afterAll(() => server.remove());

test('a call gives what the server says, with its type', async () => {
  const ann = await Person.register(server.url);

  const { data } = await ann.rest.GET('/v1/users/profile');

  expect(data?.handle).toBe(ann.handle);
});

test('what is refused is thrown with its code', async () => {
  const ann = await Person.register(server.url);
  const body = { kind: 'direct' as const, user_id: '01930000-0000-7000-8000-000000000000' };

  const refused = ann.rest.POST('/v1/chat/rooms', { body });

  await expect(refused).rejects.toBeInstanceOf(RequestError);
  await expect(refused).rejects.toMatchObject({ code: 'user_not_found' });
});

test('what was refused for the age of its token is asked once more with a fresh one, body and all', async () => {
  const [ann, ben] = await Promise.all([Person.register(server.url), Person.register(server.url)]);
  let renewed = 0;
  const credentials: Credentials = {
    token: async () => (renewed === 0 ? 'a.token.of.yesterday' : ann.session.token()),
    renew: async () => {
      renewed += 1;
      return ann.session.token();
    },
  };
  const rest = createRest({ url: server.url, credentials });

  const { data } = await rest.POST('/v1/chat/rooms', { body: { kind: 'direct', user_id: ben.id } });

  expect(data?.id).toMatch(/^[0-9a-f-]{36}$/);
  expect(renewed).toBe(1);
});

test('a login that has ended is not renewed for ever', async () => {
  const ann = await Person.register(server.url);
  const kept = ann.session;
  const token = await kept.token();
  await fetch(`${server.url}/v1/auth/logout`, { method: 'POST', headers: { authorization: `Bearer ${token}` } });
  const told: unknown[] = [];
  kept.on('changed', (account) => told.push(account));

  await expect(ann.rest.GET('/v1/users/profile')).rejects.toMatchObject({ code: 'invalid_refresh_token' });

  expect(kept.user).toBeUndefined();
  expect(told).toEqual([undefined]);
});
