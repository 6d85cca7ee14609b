/** A client for madang: {@link Session} logs in, {@link createRest} asks, {@link connectRealtime} listens and sends. */

export * from './realtime/index.js';
export { createRest, type Rest, type RestSettings } from './rest/rest.js';
export type { components, paths } from './rest/schema.js';
export { MemoryLogin, WebStorageLogin, type Account, type Login, type LoginStorage } from './session/login.js';
export { Session, type NewAccount, type SessionEvents, type SessionSettings } from './session/session.js';
