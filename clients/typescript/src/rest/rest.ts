/**
 * The REST API, typed by what the server says of itself (`/openapi.json`). Every call carries the caller's token; what was
 * refused for its token's age is asked once more with a fresh one.
 */

import createClient, { type Client, type Middleware } from 'openapi-fetch';

import { RequestError } from '../realtime/errors.js';
import type { Credentials } from '../realtime/realtime.js';
import type { paths } from './schema.js';

export type Rest = Client<paths>;

export interface RestSettings {
  /** Where the server is, such as `https://chat.example`. */
  url: string;
  /** Without them, only what needs no login answers. */
  credentials?: Credentials;
  fetch?: typeof fetch;
}

/** A client of which each call gives `{ data }` or throws a {@link RequestError}. */
export function createRest(settings: RestSettings): Rest {
  const http = settings.fetch ?? ((...call: Parameters<typeof fetch>) => fetch(...call));
  const client = createClient<paths>({ baseUrl: settings.url.replace(/\/$/, ''), fetch: (request) => http(request) });
  // Answers pass the last that was put here first.
  client.use({
    async onResponse({ response }) {
      if (!response.ok) throw await RequestError.ofAnswer(response);
    },
  });
  if (settings.credentials) client.use(authorized(settings.credentials, http));
  return client;
}

function authorized(credentials: Credentials, http: typeof fetch): Middleware {
  // A body is read once: what may have to be said again is kept.
  const said = new WeakMap<Request, Request>();
  const authorize = (request: Request, token: string | undefined) => {
    if (token !== undefined) request.headers.set('authorization', `Bearer ${token}`);
    return request;
  };
  return {
    async onRequest({ request }) {
      authorize(request, await credentials.token());
      said.set(request, request.clone());
      return request;
    },
    async onResponse({ request, response }) {
      const again = said.get(request);
      if (response.status !== 401 || !again) return undefined;
      return http(authorize(again, await credentials.renew()));
    },
  };
}
