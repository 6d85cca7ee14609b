/** The shared worker: the one connection of all windows that somebody has open here. */

import { serveTabs } from '@madang/client/worker';

serveTabs({ url: location.origin, client: { name: 'madang-web' } });
