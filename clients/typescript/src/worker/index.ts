/** One connection for all tabs: {@link serveTabs} in a shared worker, {@link connectShared} in each tab. */

export { serveTabs, TabHost, type HostSettings } from './host.js';
export { connectShared, portOf, type SharedSettings } from './tab.js';
export type { Port } from './wire.js';
