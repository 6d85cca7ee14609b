/** A client for madang: {@link Session} logs in, {@link createRest} asks, {@link connectRealtime} listens and sends. */

export * from './realtime/index.js';
export { createRest, type Rest, type RestSettings } from './rest/rest.js';
export {
  MemoryLogin,
  Session,
  WebStorageLogin,
  type Account,
  type Login,
  type LoginStorage,
  type NewAccount,
  type SessionSettings,
} from './session/session.js';
