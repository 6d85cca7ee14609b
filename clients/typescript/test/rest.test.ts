import { expect, test } from 'vitest';

import { createRest, RequestError, type Credentials } from '../src/index.js';
import { Fixture } from './fixture.js';

const fixture = new Fixture();

test('a call gives what the server says, with its type', async () => {
  const ann = await fixture.person();

  const { data } = await ann.rest.GET('/v1/users/profile');

  expect(data?.handle).toBe(ann.handle);
});

test('what is refused is thrown with its code', async () => {
  const ann = await fixture.person();
  const body = { kind: 'direct' as const, user_id: '01930000-0000-7000-8000-000000000000' };

  const refused = ann.rest.POST('/v1/chat/rooms', { body });

  await expect(refused).rejects.toBeInstanceOf(RequestError);
  await expect(refused).rejects.toMatchObject({ code: 'user_not_found' });
});

test('what was refused for the age of its token is asked once more with a fresh one, body and all', async () => {
  const [ann, ben] = await fixture.people();
  let renewed = 0;
  const credentials: Credentials = {
    token: async () => (renewed === 0 ? 'a.token.of.yesterday' : ann.session.token()),
    renew: async () => {
      renewed += 1;
      return ann.session.token();
    },
  };
  const rest = createRest({ url: fixture.server.url, credentials });

  const { data } = await rest.POST('/v1/chat/rooms', { body: { kind: 'direct', user_id: ben.id } });

  expect(data?.id).toMatch(/^[0-9a-f-]{36}$/);
  expect(renewed).toBe(1);
});

test('a login that has ended is not renewed for ever', async () => {
  const ann = await fixture.person();
  const kept = ann.session;
  const token = await kept.token();
  await fetch(`${fixture.server.url}/v1/auth/logout`, { method: 'POST', headers: { authorization: `Bearer ${token}` } });
  const told: unknown[] = [];
  kept.on('changed', (account) => told.push(account));

  await expect(ann.rest.GET('/v1/users/profile')).rejects.toMatchObject({ code: 'invalid_refresh_token' });

  expect(kept.user).toBeUndefined();
  expect(told).toEqual([undefined]);
});
